// The map of the model. A part can be clicked, reached with Tab and chosen with Enter, or picked from the list.

const UNIT = 44, MAP_WIDTH = 10 * UNIT, MAP_HEIGHT = 10.2 * UNIT;
const PLACES = {
  tokens: [3.2, 0, 3.6, 0.7], tok_embeddings: [3.2, 1.1, 3.6, 0.7], attention_norm: [3.2, 2.5, 3.6, 0.6],
  attention: [3.2, 3.5, 3.6, 0.9], rope: [0.7, 3.5, 2, 0.9], cache: [7.3, 3.5, 2, 0.9], ffn_norm: [3.2, 5.1, 3.6, 0.6],
  feed_forward: [3.2, 6.1, 3.6, 0.9], norm: [3.2, 7.9, 3.6, 0.6], output: [3.2, 8.9, 3.6, 0.7],
};
const up = (y) => MAP_HEIGHT - (y + 0.3) * UNIT; // y grows upwards on the map

function boxes(state, data) {
  let marks = `<rect x="${0.3 * UNIT}" y="${up(7.45)}" width="${9.4 * UNIT}" height="${5.3 * UNIT}" rx="8" fill="#f6f6f6" stroke="${COLOURS.GREY}"/>` +
    `<text x="${9.5 * UNIT}" y="${up(7.05)}" text-anchor="end" fill="${COLOURS.GREY}">one layer, repeated</text>` +
    `<path d="M${5 * UNIT} ${up(0.7)}V${up(8.9)}" stroke="${COLOURS.GREY}"/>` +
    `<path d="M${2.7 * UNIT} ${up(3.95)}H${7.3 * UNIT}" stroke="${COLOURS.GREY}"/>`;
  for (const [low, high] of [[2.3, 4.75], [4.85, 7.3]])
    marks += `<path d="M${5 * UNIT} ${up(low)}H${7.05 * UNIT}V${up(high)}H${5 * UNIT}" stroke="${COLOURS.GREY}" fill="none" stroke-dasharray="4 3"/>` +
      `<circle cx="${5 * UNIT}" cy="${up(high)}" r="8" fill="#fff" stroke="${COLOURS.INK}"/><text x="${5 * UNIT}" y="${up(high) + 4}" text-anchor="middle">+</text>`;
  for (const part of data.parts) {
    const [x, y, w, h] = PLACES[part.id], chosen = part.id === state.part;
    marks += `<g data-part="${part.id}" tabindex="0" role="button" aria-pressed="${chosen}" aria-label="${escapeText(part.title)}, chapter ${part.chapters}" style="cursor: pointer">` +
      `<rect x="${x * UNIT}" y="${up(y + h)}" width="${w * UNIT}" height="${h * UNIT}" rx="6" fill="${chosen ? COLOURS.AMBER : COLOURS.PAPER}" stroke="${COLOURS.INK}" stroke-width="${chosen ? 2.5 : 1}"/>` +
      `<text x="${(x + w / 2) * UNIT}" y="${up(y + h / 2) + 5}" text-anchor="middle" font-size="13" pointer-events="none">${escapeText(part.title)}</text></g>`;
  }
  return marks;
}

function facts(part, data, answer) {
  const rows = Object.entries(part.weights).map(([name, count]) =>
    `<tr><td style="text-align: left; padding: 0.1em 1em 0.1em 0">${escapeText(name)}, ${data.layers[name]} layers</td>` +
    `<td style="text-align: right; font-variant-numeric: tabular-nums">${count ? count.toLocaleString("en") : "none"}</td></tr>`).join("");
  const ran = answer ? `(${answer.shape.join(", ")})` : "…";
  const size = answer && answer.size !== null && answer.size !== undefined ? `, numbers of about ${answer.size}` : "";
  return `<h4 style="margin: 0.2em 0">${escapeText(part.title)}</h4><p style="margin: 0.3em 0">${escapeText(part.says)}</p>` +
    `<p style="margin: 0.3em 0">Comes out of it: <b>${escapeText(part.shape)}</b></p>` +
    `<p class="ran" style="margin: 0.3em 0">Just now, in the bundled model, on “${escapeText(data.text)}”: <b>${ran}</b>${size}</p>` +
    `<table style="border-collapse: collapse; margin: 0.5em 0; color: inherit"><caption style="text-align: left; color: inherit">weights, all layers together</caption>${rows}</table>` +
    `<p style="margin: 0.3em 0">Chapter ${escapeText(part.chapters)}</p>`;
}

function render({ model, el }) {
  const find = (state, data) => data.parts.find((part) => part.id === state.part);
  const layers = model.get("data").layers["the bundled model"];
  const tool = makeTool({
    model, el, name: "architecture-map", ask: true,
    controls: [
      { name: "part", text: "part", kind: "choice", options: model.get("data").parts.map((p) => [p.id, `${p.title} (${p.id})`]) },
      { name: "layer", text: "layer of the running model", min: 0, max: layers - 1 },
    ],
    say: (state, data, answer) => {
      const part = find(state, data);
      return `${part.title}: comes out as ${part.shape}` + (answer ? `, here (${answer.shape.join(", ")}).` : ".");
    },
    draw: (state, data, answer) =>
      `<div style="display: flex; flex-wrap: wrap; gap: 1.2em"><div style="flex: 0 1 ${MAP_WIDTH}px">` +
      svgPicture(MAP_WIDTH, MAP_HEIGHT, "Map of the model, from the text below to the next piece above", boxes(state, data)).replace('role="img"', 'role="group"') +
      `</div><div style="flex: 1 1 20em; max-width: 30em; color: var(--jp-ui-font-color1, inherit)">${facts(find(state, data), data, answer)}</div></div>`,
  });
  const select = el.querySelector('select[data-name="part"]');
  const choose = (event) => {
    const part = event.target.closest("[data-part]");
    if (!part) return;
    event.preventDefault();
    event.stopPropagation();
    select.selectedIndex = tool.data.parts.findIndex((p) => p.id === part.dataset.part);
    select.dispatchEvent(new Event("change"));
  };
  el.addEventListener("click", choose);
  el.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") choose(event);
  });
}

export default { render };
