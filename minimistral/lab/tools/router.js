// From 8 logits to the weights of the k chosen experts. Everything is drawn here; the same numbers come from router.py.

const WIDTH = 760, HEIGHT = 262, TOP = 34, BOTTOM = 214, POINTS = 161;

function softmax(logits) {
  const most = Math.max(...logits), powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

const ranked = (logits) => logits.map((_, e) => e).sort((a, b) => logits[b] - logits[a] || a - b);

function routed(state, noise, own) {
  return state.logits.map((logit, e) => (own !== undefined && e === state.expert ? own : logit) + state.noise * noise[state.draw][e]);
}

function weigh(state, logits, chosen) {
  const mass = softmax(logits);
  const total = state.order === "after" || state.renormalise ? chosen.reduce((sum, e) => sum + mass[e], 0) : 1;
  return mass.map((share, e) => (chosen.includes(e) ? share / total : 0));
}

const mixed = (weights, outputs) => weights.reduce((sum, weight, e) => sum + weight * outputs[e], 0);

function compute(state, { noise, outputs }) {
  const logits = routed(state, noise), order = ranked(logits), chosen = order.slice(0, state.k);
  const weights = weigh(state, logits, chosen), mass = softmax(logits);
  const shown = { logits, chosen, weights, mass, output: mixed(weights, outputs) };
  shown.dropped = order.slice(state.k).reduce((sum, e) => sum + mass[e], 0);
  if (state.k === logits.length) return shown;
  const others = order.filter((e) => e !== state.expert), rival = others[state.k - 1];
  const place = logits[rival] - state.noise * noise[state.draw][state.expert], tied = routed(state, noise, place);
  const side = (ids) => mixed(weigh(state, tied, ids), outputs);
  return { ...shown, rival, edge: [place, side(others.slice(0, state.k)), side([...others.slice(0, state.k - 1), state.expert])] };
}

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

function sentence(state, data) {
  const shown = compute(state, data), ids = [...shown.chosen].sort((a, b) => a - b), many = state.k > 1;
  const sum = shown.weights.reduce((a, b) => a + b);
  let text = `${many ? "Experts" : "Expert"} ${listed(ids)} of 8 run${many ? "" : "s"}, weight ${listed(ids.map((e) => shown.weights[e].toFixed(2)))}, ` +
    `sum ${sum.toFixed(2)}. The others held ${Math.round(shown.dropped * 100)}% of the softmax over all 8. Output ${shown.output.toFixed(2)}.`;
  const [low, high] = data.limits;
  if (shown.edge && shown.edge[0] >= low && shown.edge[0] <= high)
    text += ` Where expert ${state.expert}'s logit passes ${shown.edge[0].toFixed(1)}, expert ${shown.rival}'s place, ` +
      `the output jumps from ${shown.edge[1].toFixed(2)} to ${shown.edge[2].toFixed(2)}.`;
  return text;
}

function bars(left, width, values, colours, from, to, className, thin) {
  const step = width / values.length, y = (value) => BOTTOM - (BOTTOM - TOP) * (Math.max(from, Math.min(to, value)) - from) / (to - from);
  return values.map((value, e) => {
    const zero = y(Math.max(from, 0)), top = Math.min(y(value), zero), part = thin ? 0.42 : 0.76;
    return `<rect class="${className}" x="${(left + (e + (1 - part) / 2) * step).toFixed(1)}" y="${top.toFixed(1)}" width="${(part * step).toFixed(1)}" ` +
      `height="${Math.abs(y(value) - zero).toFixed(1)}" fill="${colours ? colours[e] : "none"}" stroke="${colours ? "none" : COLOURS.GREY}"/>` +
      (thin ? "" : `<text x="${(left + (e + 0.5) * step).toFixed(1)}" y="${BOTTOM + 14}" text-anchor="middle">${e}</text>`);
  }).join("");
}

function curve(state, data, left, width, shown) {
  const [low, high] = data.limits;
  const x = (own) => (left + width * (own - low) / (high - low)).toFixed(1);
  const y = (output) => (BOTTOM - (BOTTOM - TOP) * (output + 3.2) / 6.4).toFixed(1);
  const parts = { false: "", true: "" };
  for (let i = 0, before; i < POINTS; i++) {
    const own = low + (high - low) * i / (POINTS - 1), logits = routed(state, data.noise, own);
    const ids = ranked(logits).slice(0, state.k), on = ids.includes(state.expert);
    parts[on] += `${on === before ? "L" : "M"}${x(own)} ${y(mixed(weigh(state, logits, ids), data.outputs))}`;
    before = on;
  }
  const line = (d, colour, name) => `<path class="${name}" d="${d}" stroke="${colour}" fill="none" stroke-width="2.2"/>`;
  return `<path d="M${left} ${TOP}V${BOTTOM}H${left + width}" stroke="${COLOURS.GREY}" fill="none"/>` +
    line(parts.false, COLOURS.GREY, "curve-off") + line(parts.true, COLOURS.EXPERTS[state.expert], "curve-on") +
    `<circle class="now" cx="${x(state.logits[state.expert])}" cy="${y(shown.output)}" r="5" fill="${COLOURS.INK}"/>` +
    [-3, 0, 3].map((v) => `<text x="${left - 6}" y="${+y(v) + 4}" text-anchor="end">${v}</text>`).join("") +
    [low, 0, high].map((v) => `<text x="${x(v)}" y="${BOTTOM + 14}" text-anchor="middle">${v}</text>`).join("");
}

function svg(state, data) {
  const shown = compute(state, data), [low, high] = data.limits;
  const colours = shown.logits.map((_, e) => (shown.chosen.includes(e) ? COLOURS.EXPERTS[e] : COLOURS.LIGHT));
  const zero = TOP + (BOTTOM - TOP) / 2, title = (x, text) => `<text x="${x}" y="20" font-size="12">${text}</text>`;
  return svgPicture(WIDTH, HEIGHT, sentence(state, data),
    title(34, "logits") + bars(34, 190, shown.logits, colours, low - 0.5, high + 0.5, "logit") +
    `<path d="M34 ${zero}H224" stroke="${COLOURS.GREY}"/>` +
    title(256, "weights (outline: softmax over all 8)") + bars(256, 190, shown.mass, null, 0, 1.02, "mass") +
    bars(256, 190, shown.weights, colours, 0, 1.02, "weight", true) +
    `<text x="252" y="${TOP + 8}" text-anchor="end">1</text><text x="252" y="${BOTTOM}" text-anchor="end">0</text>` +
    title(490, "output (colour: this expert is chosen)") + curve(state, data, 500, 244, shown) +
    `<text x="129" y="${BOTTOM + 32}" text-anchor="middle">expert</text><text x="351" y="${BOTTOM + 32}" text-anchor="middle">expert</text>` +
    `<text x="622" y="${BOTTOM + 32}" text-anchor="middle">logit of expert ${state.expert}</text>`);
}

function render({ model, el }) {
  const { presets, own, noise, limits, outputs } = model.get("data");
  makeTool({
    model, el, name: "router", say: sentence, draw: svg,
    controls: [
      { name: "preset", text: "logits of a token", kind: "choice", options: [...Object.keys(presets), own].map((name) => [name, name]) },
      { name: "expert", text: "expert to move", kind: "choice", options: outputs.map((said, e) => [e, `${e} (says ${said})`]) },
      { name: "logit", text: "its logit", min: limits[0], max: limits[1], step: 0.1, format: (logit) => logit.toFixed(1) },
      { name: "k", text: "k (experts chosen)", min: 1, max: outputs.length },
      { name: "order", text: "softmax", kind: "choice", options: [["after", "after the choice, over the k"], ["before", "before the choice, over all 8"]] },
      { name: "renormalise", text: "softmax before: divide by the sum of the k", kind: "check" },
      { name: "noise", text: "noise on the logits", min: 0, max: 2, step: 0.1, format: (size) => size.toFixed(1) },
      { name: "draw", text: "draw of the noise", min: 0, max: noise.length - 1 },
    ],
    fix(state, changed) {
      if (changed === "preset" && presets[state.preset]) state.logits = [...presets[state.preset]];
      if (changed === "logit") {
        state.logits = state.logits.map((logit, e) => (e === state.expert ? state.logit : logit));
        state.preset = own;
      }
      state.logit = state.logits[state.expert];
    },
  });
}

export default { render };
