// The receptive field of one output. Everything is drawn here from four numbers, but for the gradient, which Python computes.

const WIDTH = 760, LEFT = 74, RIGHT = 14, ROW = 34, PANEL = 62, FLOOR = 1e-6;

function firstLit(state, layer) {
  return Math.max(0, state.token - (state.n_layers - layer) * (state.window - 1));
}

function uniformShares(state) {
  // one row of the mask's power, each row of which adds up to 1: spread the weight of the output down layer by layer
  let shares = Array(state.n_tokens).fill(0);
  shares[state.token] = 1;
  for (let layer = 0; layer < state.n_layers; layer++) {
    const below = Array(state.n_tokens).fill(0);
    shares.forEach((share, token) => {
      if (!share) return;
      const first = Math.max(0, token - state.window + 1);
      for (let key = first; key <= token; key++) below[key] += share / (token - first + 1);
    });
    shares = below;
  }
  return shares;
}

function sentence(state) {
  const reached = state.token - firstLit(state, 0) + 1;
  const formula = state.n_layers * (state.window - 1) + 1;
  const cut = reached < formula ? ` The text begins ${counted(state.token, "token")} back, so here it is ${reached}.` : "";
  return `Reaches ${counted(reached, "token")}: itself and ${reached - 1} before it. ` +
    `${state.n_layers} × (${state.window} − 1) + 1 = ${formula}; layers × window would be ${state.n_layers * state.window}.${cut}`;
}

function svg(state, gradient, recall) {
  const step = (WIDTH - LEFT - RIGHT) / state.n_tokens;
  const x = (token) => (LEFT + (token + 0.5) * step).toFixed(1);
  const stack = (state.n_layers + 1) * ROW;
  const y = (layer) => 12 + (state.n_layers - layer) * ROW;
  const radius = Math.min(6, step * 0.36);
  let edges = "", dots = "";
  for (let layer = 0; layer <= state.n_layers; layer++) {
    const first = firstLit(state, layer);
    for (let token = 0; token < state.n_tokens; token++) {
      const lit = token >= first && token <= state.token;
      dots += `<circle cx="${x(token)}" cy="${y(layer)}" r="${radius}" fill="${lit ? COLOURS.THEORY : COLOURS.PAPER}" stroke="${COLOURS.GREY}" stroke-width="0.7"/>`;
      if (!lit || !layer) continue;
      for (let key = Math.max(0, token - state.window + 1); key <= token; key++)
        edges += `M${x(token)} ${y(layer)}L${x(key)} ${y(layer - 1)}`;
    }
  }
  let path = "";
  for (let hop = 0; hop <= state.n_layers; hop++)
    path += `${hop ? "L" : "M"}${x(Math.max(0, state.token - hop * (state.window - 1)))} ${y(state.n_layers - hop)}`;
  const labels = `<text x="4" y="${y(0) + 4}">inputs</text><text x="4" y="${y(state.n_layers) + 4}">layer ${state.n_layers}</text>`;
  const panels = [
    ["uniform attention: share of each input (log scale; × is exactly 0)", uniformShares(state), COLOURS.THEORY, true],
    ["untrained model: gradient, largest = 1 (log scale; × is exactly 0)", gradient, COLOURS.GRADIENT, true],
    ["trained models: name a first token that stands here (share of texts; a guess gives 0.06)", recall, COLOURS.TRAINED, false],
  ];
  let top = stack + 10, bars = "";
  for (const [title, values, colour, isLog] of panels) {
    bars += `<text x="${LEFT}" y="${top + 10}">${title}</text><path d="M${LEFT} ${top + PANEL - 6}H${WIDTH - RIGHT}" stroke="${COLOURS.GREY}"/>`;
    bars += `<text x="${LEFT - 6}" y="${top + 24}" text-anchor="end">1</text><text x="${LEFT - 6}" y="${top + PANEL - 4}" text-anchor="end">${isLog ? "10⁻⁶" : "0"}</text>`;
    if (!values) bars += `<text x="${LEFT + 8}" y="${top + 34}" fill="${COLOURS.GREY}">${isLog ? "asking the kernel …" : "no trained run is stored for these layers and this window (there are 1–4 layers, windows 2–6 and 8)"}</text>`;
    (values || []).forEach((value, token) => {
      if (value === null || value === undefined) return;
      const share = isLog ? 1 - Math.log(Math.max(value, FLOOR)) / Math.log(FLOOR) : value;
      const height = Math.max(share * (PANEL - 26), value > 0 ? 1 : 0);
      if (value === 0) bars += `<text x="${x(token)}" y="${top + PANEL - 9}" text-anchor="middle" fill="${COLOURS.GREY}">×</text>`;
      else bars += `<rect x="${(+x(token) - step * 0.36).toFixed(1)}" width="${(step * 0.72).toFixed(1)}" y="${(top + PANEL - 6 - height).toFixed(1)}" height="${height.toFixed(1)}" fill="${colour}"/>`;
    });
    top += PANEL;
  }
  const every = state.n_tokens > 20 ? 5 : 1;
  for (let token = 0; token < state.n_tokens; token += every) bars += `<text x="${x(token)}" y="${top + 8}" text-anchor="middle">${token}</text>`;
  bars += `<text x="${WIDTH - RIGHT}" y="${top + 22}" text-anchor="end">input token (position)</text>`;
  return svgPicture(WIDTH, top + 28, sentence(state), `<path class="edges" d="${edges}" stroke="${COLOURS.LIGHT}" fill="none" stroke-width="0.8"/>${dots}` +
    `<path class="far-path" d="${path}" stroke="${COLOURS.GRADIENT}" fill="none" stroke-width="2"/>${labels}${bars}`);
}

function byToken(recall, state) {
  const shares = recall[`${state.n_layers},${state.window}`];
  if (!shares) return null;
  return Array.from({ length: state.n_tokens }, (_, token) => (token <= state.token ? shares[state.token - token] : undefined));
}

function render({ model, el }) {
  const { limits, recall } = model.get("data");
  let atEnd = model.get("start").token === model.get("start").n_tokens - 1; // then the token moves with the text's end
  makeTool({
    model, el, name: "receptive-field", ask: true, say: sentence,
    controls: [
      { name: "n_layers", text: "layers", min: 1, max: limits.n_layers },
      { name: "window", text: "window (keys a token sees, itself included)", min: 1, max: limits.window },
      { name: "n_tokens", text: "length of the text (tokens)", min: 2, max: limits.n_tokens },
      { name: "token", text: "output token (position)", min: 0, max: (state) => state.n_tokens - 1 },
    ],
    fix(state, changed) {
      if (changed === "n_tokens") state.token = atEnd ? state.n_tokens - 1 : Math.min(state.token, state.n_tokens - 1);
      atEnd = state.token === state.n_tokens - 1;
    },
    draw: (state, _, answer) => svg(state, answer && answer.gradient, byToken(recall, state)),
  });
}

export default { render };
