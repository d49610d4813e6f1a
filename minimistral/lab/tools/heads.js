// Who shares a key/value head, and what it costs. Everything is drawn here from five numbers.

const WIDTH = 760, LEFT = 20, RIGHT = 20;

const divisors = (n) => Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0);
const number = (n) => n.toLocaleString("en-US");
const size = (bytes) => `${Number((bytes / 2 ** 30).toPrecision(3))} GiB`;

function compute(state) {
  const share = state.n_heads / state.n_kv_heads, tokens = 2 ** state.power;
  const cache = 2 * state.n_layers * state.head_dim * 2 * state.n_kv_heads; // key and value, two bytes each
  return { share, tokens, cache, read: cache * tokens, scores: state.n_layers * state.n_heads * tokens };
}

function sentence(state) {
  const { share, tokens, cache, read, scores } = compute(state);
  const kind = share === 1 ? "MHA" : state.n_kv_heads === 1 ? "MQA" : "GQA";
  return `${kind}: ${counted(state.n_heads, "query head")}, ${counted(state.n_kv_heads, "key/value head")}; ` +
    `${share === 1 ? "1 query head reads" : `${share} query heads share`} each. Cache: ${number(cache)} bytes a token, ` +
    `${share === 1 ? "as much as MHA's" : `1/${share} of MHA's`}. One step with ${number(tokens)} tokens in the cache reads ${size(read)} of keys and values, ` +
    `and computes ${number(scores)} scores, however many share.`;
}

function svg(state) {
  const { share, cache, read, scores } = compute(state);
  const step = (WIDTH - LEFT - RIGHT) / state.n_heads, radius = Math.min(11, step * 0.36);
  const x = (place) => (LEFT + (place + 0.5) * step).toFixed(1);
  const top = 52, bottom = 150;
  let lines = "", dots = "", marks = "";
  for (let head = 0; head < state.n_heads; head++) {
    const group = Math.floor(head / share), colour = COLOURS.EXPERTS[group % 4], place = (group + 0.5) * share - 0.5;
    lines += `<path d="M${x(head)} ${bottom}L${x(place)} ${top}" stroke="${colour}" stroke-width="1.2"/>`;
    dots += `<circle class="query-head" cx="${x(head)}" cy="${bottom}" r="${radius.toFixed(1)}" fill="${colour}"/>`;
    if (head % share === 0)
      marks += `<rect class="kv-head" x="${(+x(place) - radius).toFixed(1)}" y="${(top - radius).toFixed(1)}" width="${(2 * radius).toFixed(1)}" ` +
        `height="${(2 * radius).toFixed(1)}" fill="${colour}" stroke="${COLOURS.INK}"/>`;
    if (state.n_heads <= 16) dots += `<text x="${x(head)}" y="${bottom + 26}" text-anchor="middle">q${head}</text>`;
    if (state.n_heads <= 16 && head % share === 0) marks += `<text x="${x(place)}" y="${top - 15}" text-anchor="middle">kv${group}</text>`;
  }
  const rows = [
    ["cache", `${number(cache)} bytes of cache a token`, 1 / share, COLOURS.ORANGE],
    ["read", `${size(read)} read a step`, 1 / share, COLOURS.ORANGE],
    ["scores", `${number(scores)} scores a step`, 1, COLOURS.BLUE],
  ];
  let bars = "";
  rows.forEach(([name, text, part, colour], row) => {
    const y = 196 + row * 30, full = WIDTH - LEFT - RIGHT;
    bars += `<rect x="${LEFT}" y="${y}" width="${full}" height="22" fill="none" stroke="${COLOURS.GREY}"/>` +
      `<rect class="bar-${name}" x="${LEFT}" y="${y}" width="${(full * part).toFixed(1)}" height="22" fill="${colour}" fill-opacity="0.45"/>` +
      `<text x="${LEFT + 8}" y="${y + 15}" font-size="12">${text}</text>`;
  });
  bars += `<text x="${WIDTH - RIGHT}" y="300" text-anchor="end">full width: what MHA needs</text>`;
  return svgPicture(WIDTH, 310, sentence(state),
    `<text x="${LEFT}" y="18">key/value heads: ${state.n_kv_heads}</text><text x="${LEFT}" y="190">query heads: ${state.n_heads}</text>${lines}${marks}${dots}${bars}`);
}

function render({ model, el }) {
  const { presets, own, max_heads, powers } = model.get("data");
  const known = (state) => Object.keys(presets).find((name) =>
    ["n_layers", "n_heads", "n_kv_heads", "head_dim"].every((key, i) => presets[name][i] === state[key])) || own;
  makeTool({
    model, el, name: "heads", say: sentence, draw: svg,
    controls: [
      { name: "preset", text: "model", kind: "choice", options: [...Object.keys(presets), own].map((name) => [name, name]) },
      { name: "n_heads", text: "n_heads (query heads)", min: 1, max: max_heads },
      { name: "choice", text: "n_kv_heads (key/value heads; only divisors)", min: 0, max: (state) => divisors(state.n_heads).length - 1,
        format: (choice, state) => state.n_kv_heads },
      { name: "power", text: "tokens in the cache", min: powers[0], max: powers[1], format: (power) => number(2 ** power) },
    ],
    fix(state, changed) {
      if (changed === "preset" && presets[state.preset])
        [state.n_layers, state.n_heads, state.n_kv_heads, state.head_dim] = presets[state.preset];
      const possible = divisors(state.n_heads);
      if (changed === "choice") state.n_kv_heads = possible[state.choice];
      // the largest divisor that is not above what was chosen before
      if (changed === "n_heads") state.n_kv_heads = possible.filter((d) => d <= state.n_kv_heads).pop();
      state.choice = possible.indexOf(state.n_kv_heads);
      state.preset = changed === "preset" && state.preset === own ? own : known(state);
    },
  });
}

export default { render };
