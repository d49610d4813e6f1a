// Activations and gradients along the depth of a stack. Python sends an untrained stack through; here it is drawn.

const WIDTH = 760, LEFT = 64, RIGHT = 20, PANEL = 150, GAP = 44, TOP = 24;

function shortNumber(value) {
  return value >= 1e4 || value < 1e-2 ? value.toExponential(1).replace("e+", "e") : String(Number(value.toPrecision(3)));
}

function sentence(state, data, answer) {
  const start = `${counted(state.n_layers, "layer")}, ${data.names[state.norm]}`;
  if (!answer) return `${start}: asking the kernel …`;
  const { size, gradient } = answer;
  return `${start}: from the embedding to the top the residual stream goes from ${shortNumber(size[0])} to ` +
    `${shortNumber(size[size.length - 1])}; the last layer's gradient is ${shortNumber(gradient[gradient.length - 1])}, ` +
    `the first layer's ${shortNumber(gradient[0])}.`;
}

function panel(top, title, values, firstLayer, colour, nLayers, name) {
  const low = Math.min(-1, Math.floor(Math.log10(Math.min(...values)))), high = Math.max(1, Math.ceil(Math.log10(Math.max(...values))));
  const x = (layer) => (LEFT + (layer + 0.3) * (WIDTH - LEFT - RIGHT) / (Math.max(nLayers, 4) + 0.6)).toFixed(1);
  const y = (value) => (top + PANEL - (Math.log10(value) - low) / (high - low) * PANEL).toFixed(1);
  const step = high - low > 5 ? 2 : 1;
  let marks = `<text x="${LEFT}" y="${top - 8}">${title}</text>`, path = "";
  for (let power = low; power <= high; power += step)
    marks += `<path d="M${LEFT} ${y(10 ** power)}H${WIDTH - RIGHT}" stroke="${COLOURS.LIGHT}"/>` +
      `<text x="${LEFT - 8}" y="${+y(10 ** power) + 4}" text-anchor="end">${shortNumber(10 ** power)}</text>`;
  values.forEach((value, index) => {
    path += `${index ? "L" : "M"}${x(index + firstLayer)} ${y(value)}`;
    marks += `<circle cx="${x(index + firstLayer)}" cy="${y(value)}" r="3.5" fill="${colour}"/>`;
  });
  const every = nLayers > 16 ? 4 : nLayers > 8 ? 2 : 1;
  for (let layer = 0; layer <= nLayers; layer += every) marks += `<text x="${x(layer)}" y="${top + PANEL + 16}" text-anchor="middle">${layer}</text>`;
  return `${marks}<path class="${name}" d="${path}" stroke="${colour}" stroke-width="2" fill="none"/>`;
}

function render({ model, el }) {
  makeTool({
    model, el, name: "block-xray", ask: true, say: sentence,
    controls: [
      { name: "norm", text: "norm", kind: "choice", options: Object.entries(model.get("data").names) },
      { name: "n_layers", text: "layers", min: 1, max: model.get("data").max_layers },
      { name: "dim", text: "width (C)", kind: "choice", options: model.get("data").widths.map((width) => [width, String(width)]) },
    ],
    draw(state, data, answer) {
      const height = TOP + 2 * (PANEL + GAP);
      const second = TOP + PANEL + GAP + 10;
      const body = answer
        ? panel(TOP, "size of the residual stream (root mean square, log scale)", answer.size, 0, COLOURS.TRAINED, state.n_layers, "size") +
          panel(second, "gradient of each layer's w2 (length, log scale)", answer.gradient, 1, COLOURS.GRADIENT, state.n_layers, "gradient") +
          `<text x="${WIDTH - RIGHT}" y="${second + PANEL + 30}" text-anchor="end">layer (0 is the embedding)</text>`
        : `<text x="${LEFT}" y="60" fill="${COLOURS.GREY}">asking the kernel …</text>`;
      return svgPicture(WIDTH, height + 10, sentence(state, data, answer), body);
    },
  });
}

export default { render };
