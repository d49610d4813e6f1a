// A position as RoPE writes it: one dial for each pair of numbers. The same computation as odometer.py, drawn at once.

const TURN = 2 * Math.PI, WIDTH = 760;
const commas = (n) => Math.round(n).toLocaleString("en-US");
const modulo = (a, b) => a - b * Math.floor(a / b);

function scaledPosition(state) {
  let position = state.position, theta = 10 ** state.log_theta;
  if (state.scaling === "interpolation") position /= state.factor;
  else if (state.scaling === "NTK") theta *= state.factor ** (state.head_dim / (state.head_dim - 2));
  else if (state.scaling === "base") theta *= state.factor;
  return { position, theta };
}

function dials(state) {
  const { position, theta } = scaledPosition(state), length = 2 ** state.log_length;
  const beta = theta ** (2 / state.head_dim), trainedTheta = 10 ** state.log_theta;
  const all = [];
  for (let i = 0; i < state.head_dim / 2; i++) {
    const angle = position * theta ** (-2 * i / state.head_dim);
    const span = (length - 1) * trainedTheta ** (-2 * i / state.head_dim);
    const digit = modulo(i ? Math.floor(position / beta ** i + 1e-9) : position, beta);
    all.push({ angle, span, digit, unseen: modulo(angle, TURN) > span * (1 + 1e-12) });
  }
  return { all, beta, position };
}

function sentence(state) {
  const { all } = dials(state), degrees = (all[all.length - 1].angle * 360) / TURN;
  const unseen = all.filter((dial) => dial.unseen).length;
  return `Position ${commas(state.position)}: the slowest dial has turned ` +
    `${degrees.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })} degrees. ` +
    `Trained on ${commas(2 ** state.log_length)} tokens, ${all.filter((dial) => dial.span < TURN).length} of ${all.length} dials ` +
    `never made a full circle; ${unseen} ${unseen === 1 ? "stands" : "stand"} where training never brought ${unseen === 1 ? "it" : "them"}.`;
}

function svg(state) {
  const { all, beta, position } = dials(state);
  const columns = Math.min(16, all.length), cell = WIDTH / Math.max(columns, 8), radius = cell * 0.42;
  const rowHeight = cell + 18, rows = Math.ceil(all.length / columns);
  const showDigits = beta >= 2;
  let body = "", hands = "";
  all.forEach((dial, i) => {
    const x = ((i % columns) + 0.5) * cell, y = Math.floor(i / columns) * rowHeight + cell / 2;
    const at = (angle) => `${(x + radius * Math.sin(angle)).toFixed(1)} ${(y - radius * Math.cos(angle)).toFixed(1)}`;
    body += `<circle cx="${x}" cy="${y}" r="${radius}" fill="${dial.span < TURN ? COLOURS.PAPER : COLOURS.SKY}" fill-opacity="${dial.span < TURN ? 1 : 0.45}" stroke="${COLOURS.GREY}" stroke-width="0.7"/>`;
    if (dial.span < TURN)
      body += `<path d="M${x} ${y}L${at(0)}A${radius} ${radius} 0 ${dial.span > Math.PI ? 1 : 0} 1 ${at(dial.span)}Z" fill="${COLOURS.SKY}" fill-opacity="0.45"/>`;
    const hand = modulo(dial.angle, TURN);
    const drawn = `M${x.toFixed(1)} ${y.toFixed(1)}L${at(hand)}`;
    hands += drawn;
    body += `<path d="${drawn}" stroke="${dial.unseen ? COLOURS.ORANGE : COLOURS.INK}" stroke-width="2.2"/>`;
    if (dial.unseen) body += `<circle cx="${at(hand).split(" ")[0]}" cy="${at(hand).split(" ")[1]}" r="3.2" fill="${COLOURS.ORANGE}"/>`;
    const digit = showDigits ? `: digit ${Number(dial.digit.toFixed(1))}` : "";
    body += `<text x="${x}" y="${y + radius + 14}" text-anchor="middle" font-size="${columns > 8 ? 10 : 12}">${i}${digit}</text>`;
  });
  const foot = rows * rowHeight + 14;
  const turns = (radians) => `${((radians * 360) / TURN).toLocaleString("en-US", { maximumSignificantDigits: 3 })}°`;
  const perToken = position && state.position ? [all[0].angle / state.position, all[all.length - 1].angle / state.position] : null;
  const speed = perToken ? ` A token further, the fastest turns ${turns(perToken[0])}, the slowest ${turns(perToken[1])}.` : "";
  body += `<text x="6" y="${foot}">Blue: where a dial stood or passed in training. Orange hand: a place it never saw. Zero is up, turning clockwise.</text>`;
  body += `<text x="6" y="${foot + 16}">Base beta = ${beta.toFixed(4)}: each dial turns that much slower than the one before.${speed}</text>`;
  return svgPicture(WIDTH, foot + 24, sentence(state), `<path class="hands" d="${hands}" stroke="none" fill="none"/>${body}`);
}

function render({ model, el }) {
  const { scalings, head_dims, limits } = model.get("data");
  makeTool({
    model, el, name: "odometer", say: sentence, draw: svg,
    controls: [
      { name: "position", text: "position (tokens from the start, or from query to key)", min: 0, max: limits.position, format: commas },
      { name: "log_theta", text: "theta, the base", min: limits.log_theta[0], max: limits.log_theta[1], step: 0.25, format: (power) => commas(10 ** power) },
      { name: "log_length", text: "trained length (tokens)", min: limits.log_length[0], max: limits.log_length[1], format: (power) => commas(2 ** power) },
      { name: "scaling", text: "scaling, after training", kind: "choice", options: scalings },
      { name: "factor", text: "factor of the scaling", min: 1, max: limits.factor },
      { name: "head_dim", text: "D, the numbers of a head", kind: "choice", options: head_dims.map((d) => [d, `${d}: ${d / 2} dials`]) },
    ],
  });
}

export default { render };
