// The receptive field of one output. Everything is drawn here from four numbers, but for the gradient, which Python
// computes: one request is under way at a time, and the answer to a state that has passed is not drawn.

const COLOURS = { theory: "#56b4e9", gradient: "#d55e00", trained: "#007a5a", ink: "#1a1a1a", grey: "#6b6b6b", light: "#d8d8d8" };
const WIDTH = 760, LEFT = 74, RIGHT = 14, ROW = 34, PANEL = 62, FLOOR = 1e-6;
const SLIDERS = [
  ["n_layers", "layers", 1],
  ["window", "window (keys a token sees, itself included)", 1],
  ["n_tokens", "length of the text (tokens)", 2],
  ["token", "output token (position)", 0],
];

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
  const cut = reached < formula ? ` The text begins ${state.token} tokens back, so here it is ${reached}.` : "";
  return `Reaches ${reached} ${reached === 1 ? "token" : "tokens"}: itself and ${reached - 1} before it. ` +
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
      dots += `<circle cx="${x(token)}" cy="${y(layer)}" r="${radius}" fill="${lit ? COLOURS.theory : "#fff"}" stroke="${COLOURS.grey}" stroke-width="0.7"/>`;
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
    ["uniform attention: share of each input (log scale)", uniformShares(state), COLOURS.theory, true],
    ["untrained model: gradient, largest = 1 (log scale; × is exactly 0)", gradient, COLOURS.gradient, true],
    ["trained models: name the first token from here (share of texts; a guess gives 0.06)", recall, COLOURS.trained, false],
  ];
  let top = stack + 10, bars = "";
  for (const [title, values, colour, isLog] of panels) {
    bars += `<text x="${LEFT}" y="${top + 10}">${title}</text><path d="M${LEFT} ${top + PANEL - 6}H${WIDTH - RIGHT}" stroke="${COLOURS.grey}"/>`;
    bars += `<text x="${LEFT - 6}" y="${top + 24}" text-anchor="end">1</text><text x="${LEFT - 6}" y="${top + PANEL - 4}" text-anchor="end">${isLog ? "10⁻⁶" : "0"}</text>`;
    if (!values) bars += `<text x="${LEFT + 8}" y="${top + 34}" fill="${COLOURS.grey}">${isLog ? "asking the kernel …" : "no trained run is stored for these layers and this window (there are 1–4 layers, windows 2–6 and 8)"}</text>`;
    (values || []).forEach((value, token) => {
      if (value === null || value === undefined) return;
      const share = isLog ? 1 - Math.log(Math.max(value, FLOOR)) / Math.log(FLOOR) : value;
      const height = Math.max(share * (PANEL - 26), value > 0 ? 1 : 0);
      if (value === 0) bars += `<text x="${x(token)}" y="${top + PANEL - 9}" text-anchor="middle" fill="${COLOURS.grey}">×</text>`;
      else bars += `<rect x="${(+x(token) - step * 0.36).toFixed(1)}" width="${(step * 0.72).toFixed(1)}" y="${(top + PANEL - 6 - height).toFixed(1)}" height="${height.toFixed(1)}" fill="${colour}"/>`;
    });
    top += PANEL;
  }
  const every = state.n_tokens > 20 ? 5 : 1;
  for (let token = 0; token < state.n_tokens; token += every) bars += `<text x="${x(token)}" y="${top + 8}" text-anchor="middle">${token}</text>`;
  bars += `<text x="${WIDTH - RIGHT}" y="${top + 22}" text-anchor="end">input token (position)</text>`;
  return `<svg viewBox="0 0 ${WIDTH} ${top + 28}" width="100%" style="max-width: ${WIDTH}px; background: #fff; display: block; font-family: sans-serif" ` +
    `font-size="11" fill="${COLOURS.ink}" role="img" aria-label="${sentence(state)}">` +
    `<path class="edges" d="${edges}" stroke="${COLOURS.light}" fill="none" stroke-width="0.8"/>${dots}` +
    `<path class="far-path" d="${path}" stroke="${COLOURS.gradient}" fill="none" stroke-width="2"/>${labels}${bars}</svg>`;
}

function byToken(recall, state) {
  const shares = recall[`${state.n_layers},${state.window}`];
  if (!shares) return null;
  return Array.from({ length: state.n_tokens }, (_, token) => (token <= state.token ? shares[state.token - token] : undefined));
}

function render({ model, el }) {
  const limits = model.get("limits"), recall = model.get("recall");
  const state = { ...model.get("start") };
  let gradient = model.get("gradient"), asked = null;
  el.classList.add("minimistral-receptive-field");
  el.replaceChildren();
  const controls = document.createElement("div");
  controls.style.cssText = "display: grid; grid-template-columns: max-content 16em 2.5em; gap: 0.2em 0.8em; align-items: center; margin: 0.4em 0";
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  const picture = document.createElement("div");
  const inputs = {};
  const key = () => JSON.stringify(state);
  const ask = () => {
    if (gradient || asked) return;
    asked = key();
    model.send({ ...state });
  };
  const draw = () => {
    for (const [name] of SLIDERS) {
      inputs[name].slider.max = name === "token" ? state.n_tokens - 1 : limits[name];
      inputs[name].slider.value = state[name];
      inputs[name].value.textContent = state[name];
    }
    picture.innerHTML = svg(state, gradient, byToken(recall, state));
    said.textContent = sentence(state);
  };
  for (const [name, text, least] of SLIDERS) {
    const label = document.createElement("label");
    label.textContent = text;
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: least, step: 1, id: `${model.model_id || "still"}-${name}-${Math.random().toString(36).slice(2)}` });
    slider.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys
    slider.dataset.name = name;
    label.htmlFor = slider.id;
    const value = document.createElement("output");
    slider.addEventListener("input", () => {
      const atEnd = state.token === state.n_tokens - 1;
      state[name] = Number(slider.value);
      if (name === "n_tokens") state.token = atEnd ? state.n_tokens - 1 : Math.min(state.token, state.n_tokens - 1);
      gradient = null;
      draw();
      ask();
    });
    inputs[name] = { slider, value };
    controls.append(label, slider, value);
  }
  model.on("msg:custom", (answer) => {
    asked = null;
    if (JSON.stringify(answer.state) === key()) {
      gradient = answer.gradient;
      draw();
    } else ask();
  });
  el.append(controls, said, picture);
  draw();
}

export default { render };
