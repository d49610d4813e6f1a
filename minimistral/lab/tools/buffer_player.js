// The rolling buffer, step by step: the same computation as buffer_player.py. Only the logits' difference comes from Python.

const WIDTH = 760, LEFT = 92, RIGHT = 8, BOX = 26, SECONDS_A_STEP = 0.9;
const chunksOf = (state) => Math.ceil(state.n_prompt / state.chunk);
const stepsOf = (state, words) => chunksOf(state) + words.length - state.n_prompt;
const many = (n, word) => (n === 1 ? word : `${word}s`);
const listed = (positions) => `${many(positions.length, "position")} ${positions.join(", ")}`;
const range = (first, end) => Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i);

function spanOf(state) {
  const chunks = chunksOf(state);
  if (state.step <= chunks)
    return { first: Math.max(0, state.step - 1) * state.chunk, end: Math.min(state.step * state.chunk, state.n_prompt), decoding: false };
  const first = state.n_prompt + state.step - chunks - 1;
  return { first, end: first + 1, decoding: true };
}

function slotsAfter(window, seen) {
  return range(0, window).map((slot) => (slot >= seen ? null : slot + Math.floor((seen - 1 - slot) / window) * window));
}

function shownAt(state) {
  const { first, end, decoding } = spanOf(state);
  const before = slotsAfter(state.window, first), after = slotsAfter(state.window, end);
  const held = [...new Set([...before.filter((p) => p !== null), ...range(first, end)])].sort((a, b) => a - b);
  const visible = range(first, end).map((query) => ({ query, keys: range(Math.max(0, query - state.window + 1), query + 1) }));
  return { first, end, decoding, before, after, gone: held.filter((p) => !after.includes(p)), visible };
}

function sentence(state) {
  if (!state.step) return `Nothing read yet: ${state.window} empty ${many(state.window, "slot")}.`;
  const shown = shownAt(state);
  if (shown.decoding) {
    const slot = shown.first % state.window, old = shown.before[slot], keys = shown.visible[0].keys;
    return `Writing token ${shown.first}: into slot ${shown.first} mod ${state.window} = ${slot}, ` +
      `${old === null ? "still empty" : `over position ${old}`}; then it looks at ${keys.length} ${many(keys.length, "slot")}, ${listed(keys)}.`;
  }
  const past = [...new Set(shown.visible.flatMap(({ keys }) => keys))].filter((key) => key < shown.first);
  const what = shown.end - shown.first > 1 ? `tokens ${shown.first} to ${shown.end - 1}` : `token ${shown.first}`;
  const looks = past.length ? `looks at ${listed(past)} in the buffer and at itself` : "looks at itself only";
  const lost = shown.gone.length ? `${listed(shown.gone)} ${shown.gone.length === 1 ? "is" : "are"} gone` : "nothing is lost";
  return `Reading ${what} in one chunk: it ${looks}, then it is stored; ${lost}.`;
}

function box(x, y, width, fill, stroke, text, thick, ink) {
  return `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${BOX - 6}" rx="2" fill="${fill}" stroke="${stroke}" stroke-width="${thick ? 2.5 : 0.8}"/>` +
    `<text x="${(x + width / 2).toFixed(1)}" y="${y + 14}" text-anchor="middle" fill="${ink || COLOURS.INK}">${text}</text>`;
}

function textRow(state, shown, words, cell) {
  return words.map((word, p) => {
    const read = p < shown.end, now = read && p >= shown.first && state.step, kept = shown.after.includes(p);
    const x = LEFT + p * cell, fill = kept ? COLOURS.WINDOW : read ? COLOURS.LIGHT : COLOURS.PAPER;
    return `<text x="${(x + cell / 2).toFixed(1)}" y="14" text-anchor="middle" fill="${read ? COLOURS.INK : COLOURS.GREY}">${escapeText(word)}</text>` +
      box(x + 1, 20, cell - 3, fill, now ? COLOURS.ORANGE : COLOURS.GREY, p, now, read ? COLOURS.INK : COLOURS.GREY);
  }).join("");
}

function looksRows(state, shown, words, cell, top) {
  return shown.visible.map(({ query, keys }, row) => words.map((_, key) => {
    const fromChunk = key >= shown.first && !shown.decoding;
    const fill = keys.includes(key) ? (fromChunk ? COLOURS.QUERY : COLOURS.WINDOW) : COLOURS.PAPER;
    return `<rect x="${(LEFT + key * cell + 1).toFixed(1)}" y="${top + row * 16}" width="${(cell - 3).toFixed(1)}" height="13" fill="${fill}" stroke="${COLOURS.LIGHT}"/>`;
  }).join("") + `<text x="${LEFT - 6}" y="${top + row * 16 + 11}" text-anchor="end">query ${query}</text>`).join("");
}

function slotRow(state, shown, top) {
  const wide = 62;
  return shown.after.map((position, slot) => {
    const fresh = position !== null && position >= shown.first && state.step > 0, old = shown.before[slot], x = LEFT + slot * (wide + 8);
    const text = position === null ? "empty" : `token ${position}`;
    const was = fresh && old !== null ? `<text x="${x + wide / 2}" y="${top + 34}" text-anchor="middle" fill="${COLOURS.ORANGE}">was ${old}</text>` : "";
    return `<text x="${x + wide / 2}" y="${top - 6}" text-anchor="middle" fill="${COLOURS.GREY}">slot ${slot}</text>${was}` +
      box(x, top, wide, position === null ? COLOURS.PAPER : COLOURS.WINDOW, fresh ? COLOURS.ORANGE : COLOURS.GREY, text, fresh);
  }).join("");
}

function svg(state, { words }, answer) {
  const shown = shownAt(state), cell = (WIDTH - LEFT - RIGHT) / words.length;
  const looksTop = 74, rows = Math.min(state.chunk, state.n_prompt), slotsTop = looksTop + rows * 16 + 46; // rows: of the largest chunk, so that nothing jumps
  const key = shown.decoding || !state.step ? "light blue: read from a slot" : "light blue: read from a slot; dark blue: from the chunk itself";
  const gap = !state.step ? "" : answer ? `logits of this step, with this buffer against no cache: they differ by at most ${answer.gap.toExponential(0)}`
    : "asking the kernel for the logits …";
  return svgPicture(WIDTH, slotsTop + 66, sentence(state), `<text x="${LEFT - 6}" y="34" text-anchor="end">position</text>` +
    `${textRow(state, shown, words, cell)}<text x="${LEFT}" y="${looksTop - 8}" fill="${COLOURS.GREY}">who looks at whom (${key})</text>` +
    `${looksRows(state, shown, words, cell, looksTop)}<text x="${LEFT - 6}" y="${slotsTop + 14}" text-anchor="end">the buffer</text>` +
    `<g class="slots">${slotRow(state, shown, slotsTop)}</g><text class="gap" x="${LEFT}" y="${slotsTop + 58}" fill="${COLOURS.GREY}">${gap}</text>`);
}

// Play presses "step" on a timer. It stops at the end, at any other control, at Escape, in a hidden tab, and with the cell.
// Where the system asks for reduced motion nothing moves by itself: each press of Play is one step.
function makePlayer(el, { step, isAtEnd, restart }) {
  let timer = null;
  const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    const button = el.querySelector('button[data-name="play"]');
    if (button) button.textContent = timer ? "Pause" : calm() ? "Play (one step a press)" : "Play";
    if (button) button.setAttribute("aria-pressed", String(timer !== null));
    const said = el.querySelector("[role=status]");
    if (said) said.setAttribute("aria-live", timer ? "off" : "polite"); // no flood of sentences while it plays
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    show();
  };
  const tick = () => {
    if (document.hidden || !el.isConnected || isAtEnd()) return stop();
    step();
    if (isAtEnd()) stop();
  };
  const press = () => {
    if (timer) return stop();
    if (isAtEnd()) restart();
    if (calm()) return step();
    step();
    timer = setInterval(tick, SECONDS_A_STEP * 1000);
    show();
  };
  el.addEventListener("keydown", (event) => { if (event.key === "Escape" && timer) stop(); });
  show();
  return { press, stop };
}

function render({ model, el }) {
  const { words, limits } = model.get("data");
  let player = null, byPlayer = false;
  const go = (by) => (state) => { state.step = Math.min(stepsOf(state, words), Math.max(0, state.step + by)); };
  const slider = (name, text) => ({ name, text, min: 1, max: limits[name] });
  const tool = makeTool({
    model, el, name: "buffer-player", ask: true, say: sentence, draw: svg,
    controls: [
      { name: "play", text: "Play", kind: "button", press: () => player.press() },
      { name: "next", text: "One step", kind: "button", press: go(1) },
      { name: "back", text: "One step back", kind: "button", press: go(-1) },
      { name: "step", text: "jump to step", min: 0, max: (state) => stepsOf(state, words) },
      slider("window", "window W (slots)"),
      slider("chunk", "chunk (tokens read at once)"),
      slider("n_prompt", "prompt (tokens read; the rest is written)"),
    ],
    fix(state, changed) {
      if (changed !== "play" && !byPlayer) player.stop();
      state.step = Math.min(state.step, stepsOf(state, words));
    },
  });
  const next = el.querySelector('button[data-name="next"]');
  const pressNext = () => { // as a learner would, so that the logits are asked for too
    byPlayer = true;
    next.click();
    byPlayer = false;
  };
  player = makePlayer(el, {
    step: pressNext,
    isAtEnd: () => tool.state.step >= stepsOf(tool.state, words),
    restart: () => { tool.state.step = 0; },
  });
  return () => player.stop();
}

export default { render };
