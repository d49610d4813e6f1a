// A row of 64 weights on its grids. Everything is drawn here; the same numbers come from bit_player.py.

const WIDTH = 760, LEFT = 44, RIGHT = 8, TOP = 24, BOTTOM = 264, ERROR_TOP = 284, ERROR_BOTTOM = 344;

function compute(state, { row, place, limits, text_bits }) {
  const weights = row.map((weight, i) => (i === place ? state.outlier : weight));
  const largest = 2 ** (state.bits - 1) - 1, steps = [];
  for (let from = 0; from < weights.length; from += state.group)
    steps.push(Math.max(...weights.slice(from, from + state.group).map(Math.abs)) / largest);
  const groupOf = (i) => Math.floor(i / state.group), ruined = groupOf(place);
  const rounded = weights.map((weight, i) => Math.floor(weight / steps[groupOf(i)] + 0.5) * steps[groupOf(i)]);
  const error = (wanted) => {
    const squares = weights.flatMap((weight, i) => (wanted(i) ? [(rounded[i] - weight) ** 2] : []));
    return squares.length ? Math.sqrt(squares.reduce((a, b) => a + b) / squares.length) : null;
  };
  return {
    weights, rounded, steps, largest, ruined,
    there: error((i) => groupOf(i) === ruined && i !== place), elsewhere: error((i) => groupOf(i) !== ruined),
    bitsAWeight: state.bits + limits.scale_bits / state.group, bitsAByte: text_bits[`${state.bits},${state.group}`],
  };
}

function sentence(state, data) {
  const shown = compute(state, data);
  const groups = state.group < data.row.length ? `groups of ${state.group}` : `one group of ${state.group}`;
  const elsewhere = shown.elsewhere === null ? "" : `, ${shown.elsewhere.toFixed(3)} in the other groups`;
  return `${2 ** state.bits - 1} codes, ${groups}: the typical error is ${shown.there.toFixed(3)} beside weight ${data.place}${elsewhere}. ` +
    `${shown.bitsAWeight.toFixed(2)} bits a weight, scales included. ` +
    `All of tiny-mistral so: ${shown.bitsAByte.toFixed(3)} bits a byte, as stored ${data.text_bits["16"].toFixed(3)}.`;
}

function svg(state, data) {
  const shown = compute(state, data), n = data.row.length, step = (WIDTH - LEFT - RIGHT) / n, most = data.limits.outlier + 0.5;
  const x = (i) => LEFT + (i + 0.5) * step;
  const y = (weight) => BOTTOM - (BOTTOM - TOP) * (weight + most) / (2 * most);
  const errors = shown.weights.map((weight, i) => Math.abs(shown.rounded[i] - weight));
  const top = Math.max(0.1, ...errors), height = (error) => (ERROR_BOTTOM - ERROR_TOP) * error / top;
  let grid = "", dots = "", bars = "";
  shown.steps.forEach((size, g) => {
    const from = (LEFT + g * state.group * step + 1).toFixed(1), to = (LEFT + (g + 1) * state.group * step - 1).toFixed(1);
    for (let code = -shown.largest; code <= shown.largest; code++) grid += `M${from} ${y(code * size).toFixed(1)}H${to}`;
  });
  shown.weights.forEach((weight, i) => {
    const centre = x(i).toFixed(1), colour = Math.floor(i / state.group) === shown.ruined ? COLOURS.ORANGE : COLOURS.SKY;
    const after = y(shown.rounded[i]).toFixed(1);
    dots += `<path d="M${centre} ${y(weight).toFixed(1)}V${after}" stroke="${COLOURS.ORANGE}" stroke-width="2"/>` +
      `<path d="M${(x(i) - 4).toFixed(1)} ${after}h8" stroke="${COLOURS.INK}" stroke-width="1.6"/>` +
      `<circle cx="${centre}" cy="${y(weight).toFixed(1)}" r="3" fill="${COLOURS.BLUE}"/>`;
    bars += `<rect class="error" x="${(x(i) - 0.38 * step).toFixed(1)}" width="${(0.76 * step).toFixed(1)}" y="${(ERROR_BOTTOM - height(errors[i])).toFixed(1)}" ` +
      `height="${height(errors[i]).toFixed(2)}" fill="${colour}"/>`;
  });
  let labels = [-10, -5, 0, 5, 10].map((v) => `<text x="${LEFT - 6}" y="${(y(v) + 4).toFixed(1)}" text-anchor="end">${v}</text>`).join("");
  for (let i = 0; i < n; i += 8) labels += `<text x="${x(i).toFixed(1)}" y="${ERROR_BOTTOM + 14}" text-anchor="middle">${i}</text>`;
  labels += `<text x="${LEFT - 6}" y="${ERROR_TOP + 8}" text-anchor="end">${top.toFixed(2)}</text><text x="${LEFT - 6}" y="${ERROR_BOTTOM}" text-anchor="end">0</text>` +
    `<text x="${LEFT}" y="14">weights: dots; rounded: dashes; the grid: grey lines</text>` +
    `<text x="${LEFT}" y="${ERROR_TOP - 6}">error (orange: the group of weight ${data.place})</text>` +
    `<text x="${WIDTH - RIGHT}" y="${ERROR_BOTTOM + 28}" text-anchor="end">weight of the row (number); the slider moves number ${data.place}</text>`;
  return svgPicture(WIDTH, ERROR_BOTTOM + 34, sentence(state, data),
    `<path class="grid" d="${grid}" stroke="${COLOURS.LIGHT}" fill="none"/>${dots}` +
    `<path d="M${LEFT} ${ERROR_BOTTOM}H${WIDTH - RIGHT}" stroke="${COLOURS.GREY}"/>${bars}${labels}`);
}

function render({ model, el }) {
  const { limits, groups, row } = model.get("data");
  makeTool({
    model, el, name: "bit-player", say: sentence, draw: svg,
    controls: [
      { name: "bits", text: "bits of a code", min: limits.bits[0], max: limits.bits[1] },
      { name: "group", text: "weights that share a scale", kind: "choice",
        options: groups.map((size) => [size, size < row.length ? `${size}` : `${size} (all of this row)`]) },
      { name: "outlier", text: "size of one weight", min: 0, max: limits.outlier, step: 0.5, format: (size) => size.toFixed(1) },
    ],
  });
}

export default { render };
