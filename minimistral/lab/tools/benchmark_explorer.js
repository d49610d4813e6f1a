// Published scores as bars. Everything is drawn here from the tables' rows; benchmark_explorer.py gives the same sentence.

const WIDTH = 760, LEFT = 170, RIGHT = 24, ROW = 34, AS_DRAWN = "as in the figure", ALL = "all that is published", Z95 = 1.96;

const unique = (values) => [...new Set(values)];
const rowsOf = (state, data) => data.tables[state.table].filter((bar) => bar.benchmark === state.benchmark);
const ofAll = (state, data) => rowsOf(state, data).map((bar) => bar.value);

function barsOf(state, data) {
  return rowsOf(state, data)
    .filter((bar) => state.protocol === ALL || bar.protocol === state.protocol || (state.protocol === AS_DRAWN && bar.drawn))
    .sort((a, b) => b.value - a.value);
}

const valueOf = (bar, state) => (state.measure === "score" ? bar.value : 100 - bar.value);
const errorOf = (bar) => (bar.n_items === null ? null : 100 * Math.sqrt((bar.value / 100) * (1 - bar.value / 100) / bar.n_items));

function sentence(state, data) {
  const shown = barsOf(state, data), [a, b] = shown, [first, second] = shown.map((bar) => called(bar, shown));
  if (!b) return `Only ${a.model} has this protocol (${a.protocol}): there is nothing to compare it with.`;
  let text;
  if (state.measure === "score") {
    const drawn = (a.value - state.axis) / (b.value - state.axis);
    text = `The bars begin at ${state.axis}: that of ${first} is drawn ${drawn.toFixed(2)} times as long as that of ${second}; ` +
      `the scores' ratio is ${(a.value / b.value).toFixed(2)}.`;
  } else {
    const more = (100 - b.value - state.axis) / (100 - a.value - state.axis);
    text = `${second} makes ${(100 - b.value).toFixed(1)} mistakes in 100 and ${first} ${(100 - a.value).toFixed(1)}: ${more.toFixed(2)} times as many.`;
  }
  return `${text} ${gapOf(a, b)}`;
}

function called(bar, shown) {
  return shown.filter((other) => other.model === bar.model).length > 1 ? `${bar.model} (${bar.measured_by})` : bar.model;
}

function gapOf(a, b) {
  const points = a.value - b.value;
  if (a.n_items === null || b.n_items === null)
    return `The gap of ${points.toFixed(1)} points has no error bar: how many questions were asked is not stated.`;
  const error = Math.hypot(errorOf(a), errorOf(b)), verdict = points > Z95 * error ? "more than chance gives" : "too close to call";
  const text = `The gap is ${points.toFixed(1)} points, one standard error ${error.toFixed(2)} ` +
    `(${a.n_items.toLocaleString("en-US")} questions, unpaired): ${verdict}.`;
  return a.protocol === b.protocol ? text : `${text} But their protocols differ: ${a.protocol}; ${b.protocol}.`;
}

function svg(state, data) {
  const shown = barsOf(state, data), bottom = 30 + ROW * shown.length;
  const end = (bar) => valueOf(bar, state) + (state.errors ? Z95 * (errorOf(bar) ?? 0) : 0);
  const top = state.axis + (Math.max(...shown.map(end)) - state.axis) * 1.08;
  const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (value - state.axis) / (top - state.axis);
  let body = `<text x="4" y="16" font-size="12">${escapeText(state.table)}; bars from ${state.axis}${state.axis ? ", not from 0" : ""}</text>`;
  shown.forEach((bar, row) => {
    const y = 28 + row * ROW, value = valueOf(bar, state), error = errorOf(bar);
    const width = Math.max(0, x(value) - LEFT), middle = y + ROW / 2 - 3, colour = bar.model.startsWith("Mi") ? COLOURS.BLUE : COLOURS.GREY;
    const label = escapeText(`${value.toFixed(1)}  ${bar.protocol}`), fits = width > 8 + 6.2 * label.length;
    body += `<text x="${LEFT - 8}" y="${middle + 4}" text-anchor="end">${escapeText(called(bar, shown))}</text>` +
      `<rect class="bar" x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 7}" fill="${colour}"/>` +
      `<text x="${(fits ? LEFT + 6 : x(end(bar)) + 6).toFixed(1)}" y="${middle + 4}" fill="${fits ? COLOURS.PAPER : COLOURS.INK}">${label}</text>`;
    if (state.errors && error !== null) {
      const [low, high] = [value - Z95 * error, value + Z95 * error].map((end) => x(Math.max(end, state.axis)).toFixed(1));
      body += `<path class="error" d="M${low} ${middle - 5}V${middle + 5}M${low} ${middle}H${high}M${high} ${middle - 5}V${middle + 5}" ` +
        `stroke="${COLOURS.INK}" stroke-width="1.6" fill="none"/>`;
    }
  });
  const step = top - state.axis > 40 ? 10 : top - state.axis > 16 ? 5 : top - state.axis > 6 ? 2 : 1;
  for (let tick = Math.ceil(state.axis / step) * step; tick <= top; tick += step)
    body += `<path d="M${x(tick).toFixed(1)} ${bottom}v4" stroke="${COLOURS.GREY}"/><text x="${x(tick).toFixed(1)}" y="${bottom + 16}" text-anchor="middle">${tick}</text>`;
  body += `<path d="M${LEFT} 26V${bottom}H${WIDTH - RIGHT}" stroke="${COLOURS.GREY}" fill="none"/>` +
    `<text x="${WIDTH - RIGHT}" y="${bottom + 32}" text-anchor="end">${escapeText(state.benchmark)}: percent of ${state.measure === "score" ? "right answers" : "mistakes"}</text>`;
  return svgPicture(WIDTH, bottom + 40, sentence(state, data), body);
}

function render({ model, el }) {
  const { tables } = model.get("data"), data = { tables };
  const most = (state) => Math.max(0, Math.floor(Math.min(...ofAll(state, data)) / 5 - 0.2) * 5); // `furthest` in Python
  makeTool({
    model, el, name: "benchmark-explorer", say: sentence, draw: svg,
    controls: [
      { name: "table", text: "figure", kind: "choice", options: Object.keys(tables).map((name) => [name, name]) },
      { name: "benchmark", text: "benchmark", kind: "choice",
        options: (state) => unique(tables[state.table].map((bar) => bar.benchmark)).map((name) => [name, name]) },
      { name: "measure", text: "bars show", kind: "choice", options: [["score", "right answers"], ["mistakes", "mistakes"]] },
      { name: "axis", text: "bars begin at (percent)", min: 0, max: (state) => (state.measure === "score" ? most(state) : 0) },
      { name: "errors", text: "error bars (95 %)", kind: "check" },
      { name: "protocol", text: "protocol", kind: "choice",
        options: (state) => [AS_DRAWN, ALL, ...unique(rowsOf(state, data).map((bar) => bar.protocol))].map((name) => [name, name]) },
    ],
    fix(state, changed) {
      const names = unique(tables[state.table].map((bar) => bar.benchmark));
      if (!names.includes(state.benchmark)) state.benchmark = names[0];
      if (changed === "table" || changed === "benchmark") state.protocol = AS_DRAWN;
      state.axis = state.measure === "score" ? Math.min(state.axis, most(state)) : 0;
    },
  });
}

export default { render };
