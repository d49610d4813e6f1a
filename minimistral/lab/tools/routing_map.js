// The routing map: type a text, and see the two experts of each token. Python routes; here it is drawn.

const CELL = 62, ROW = 26, LEFT = 66, HEAD = 40;

function listOf(state, found) {
  const token = Math.min(state.token, found.length);
  return found.map((one, place) => {
    const [first, second] = one.experts[state.layer - 1], [weight] = one.weights[state.layer - 1], split = (100 * weight).toFixed(0);
    const held = place + 1 === token;
    return `<span class="token" data-place="${place + 1}" data-first="${first}" data-second="${second}" style="display: inline-block; ` +
      `margin: 1px 2px 4px 0; border: 2px solid ${held ? COLOURS.INK : COLOURS.LIGHT}; border-radius: 4px; background: ${COLOURS.PAPER}; ` +
      `color: ${COLOURS.INK}; text-align: center; line-height: 1.25; overflow: hidden; cursor: pointer">` +
      `<span style="display: block; height: 9px; background: linear-gradient(to right, ${COLOURS.EXPERTS[first]} ${split}%, ${COLOURS.EXPERTS[second]} ${split}%)"></span>` +
      `<b style="white-space: pre; padding: 0 5px">${escapeText(one.piece)}</b><br><span style="font-size: 80%">${first}, ${second}</span></span>`;
  }).join("");
}

function chosenToken(state, one) {
  const layers = one.experts.length, height = HEAD + ROW * layers + 8;
  let body = `<text x="8" y="18" font-size="12">the chosen token, “${escapeText(one.piece)}”, in every layer: its two experts and their weights</text>`;
  for (let e = 0; e < 8; e++) body += `<text x="${LEFT + CELL * (e + 0.5)}" y="${HEAD - 4}" text-anchor="middle">expert ${e}</text>`;
  for (let layer = 0; layer < layers; layer++) {
    const y = HEAD + ROW * (layers - 1 - layer), now = layer + 1 === state.layer; // the last layer on top
    body += `<text x="${LEFT - 8}" y="${y + 17}" text-anchor="end" font-weight="${now ? "bold" : "normal"}">layer ${layer + 1}</text>`;
    for (let e = 0; e < 8; e++) {
      const rank = one.experts[layer].indexOf(e), x = LEFT + CELL * e;
      body += `<rect x="${x + 1}" y="${y + 1}" width="${CELL - 2}" height="${ROW - 2}" fill="${COLOURS.PAPER}" stroke="${now ? COLOURS.GREY : COLOURS.LIGHT}"/>`;
      if (rank >= 0) {
        const weight = one.weights[layer][rank];
        body += `<rect class="chosen" data-layer="${layer + 1}" data-expert="${e}" x="${x + 3}" y="${y + 3}" width="${((CELL - 34) * weight).toFixed(1)}" height="${ROW - 6}" fill="${COLOURS.EXPERTS[e]}"/>` +
          `<text x="${x + CELL - 5}" y="${y + 17}" text-anchor="end">${weight.toFixed(2)}</text>`;
      }
    }
  }
  return svgPicture(LEFT + CELL * 8 + 8, height, `the token “${one.piece}” in every layer`, body);
}

function sentence(state, found) {
  if (!found.length) return "Type a word or two.";
  const token = Math.min(state.token, found.length), one = found[token - 1];
  const [first, second] = one.experts[state.layer - 1], [heavy, light] = one.weights[state.layer - 1];
  const used = new Set(found.flatMap((other) => other.experts[state.layer - 1])).size;
  const pairs = new Set(one.experts.map((pair) => [...pair].sort().join())).size;
  return `Layer ${state.layer}: token ${token} of ${found.length}, “${one.piece}”, goes to expert ${first} ` +
    `(weight ${heavy.toFixed(2)}) and expert ${second} (${light.toFixed(2)}). Over the ${counted(one.experts.length, "layer")} it ` +
    `has ${counted(pairs, "different pair")}. This text uses ${used} of 8 experts in layer ${state.layer}.`;
}

function render({ model, el }) {
  const { examples, layers, longest } = model.get("data");
  const first = model.get("answer");
  // Python is asked for a new text only: layer and token are drawn from what it said. The newest answer stays, paler, meanwhile.
  let last = first.found, lastText = first.state.text, asked = null;
  const want = (state) => {
    if (state.text === lastText || asked !== null) return;
    asked = state.text;
    model.send({ ...state });
  };
  const tool = makeTool({
    model, el, name: "routing-map",
    controls: [
      { name: "text", text: "text", kind: "text" },
      { name: "example", text: "or an example", kind: "choice",
        options: [["", "your own text"], ...Object.keys(examples).map((name) => [name, name])] },
      { name: "layer", text: "layer", min: 1, max: layers },
      { name: "token", text: "token", min: 1, max: () => Math.max(1, last.length),
        format: (token, state) => (last.length ? `${Math.min(token, last.length)} of ${last.length}` : "") },
    ],
    fix(state, changed) {
      if (changed === "example" && state.example) state.text = examples[state.example];
      if (changed === "text") state.example = "";
      want(state);
    },
    say: (state) => (lastText === state.text ? sentence(state, last) : "…"),
    draw(state) {
      if (!last.length) return "";
      const one = last[Math.min(state.token, last.length) - 1];
      return `<div style="opacity: ${lastText === state.text ? 1 : 0.5}"><div style="max-width: 60em">${listOf(state, last)}</div>${chosenToken(state, one)}</div>` +
        (last.length === longest ? `<p style="color: var(--jp-ui-font-color1, inherit)">The first ${longest} tokens are shown.</p>` : "");
    },
  });
  model.on("msg:custom", (message) => {
    asked = null;
    [last, lastText] = [message.found, message.state.text];
    tool.redraw();
    want(tool.state);
  });
  const choose = (event) => {
    const held = event.target.closest && event.target.closest(".token");
    if (!held || tool.state.token === Number(held.dataset.place)) return;
    tool.state.token = Number(held.dataset.place);
    tool.redraw();
  };
  const picture = el.querySelector(".minimistral-picture");
  picture.addEventListener("mouseover", choose);
  picture.addEventListener("click", choose);
  const field = el.querySelector('input[data-name="text"]');
  field.style.width = "24em";
  field.style.maxWidth = "60vw";
  field.spellcheck = false;
  field.autocomplete = "off";
}

export default { render };
