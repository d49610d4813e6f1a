// One key turned toward the query; the softmax moves its weight. All drawn here.

const WIDTH = 760, HEIGHT = 330, CENTRE = [200, 165], UNIT = 34, BARS = 440; // room for a key of length 4 all round

function compute(state, data) {
  const keys = data.fixed.map((polar) => {
    const [length, angle] = polar || [state.length, state.angle];
    return [length * Math.cos(angle * Math.PI / 180), length * Math.sin(angle * Math.PI / 180)];
  });
  const scores = keys.map((key, i) => state.hidden && !data.fixed[i] ? -Infinity : (key[0] * data.query[0] + key[1] * data.query[1]) / Math.SQRT2);
  const top = Math.max(...scores), powers = scores.map((score) => Math.exp(score - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return { keys, scores, weights: powers.map((power) => power / sum) };
}

function sentence(state, data) {
  const moved = data.fixed.indexOf(null);
  const place = state.hidden ? "hidden" : `${state.angle} degrees from the query`;
  return `The key of “${data.words[moved]}” is ${place}: its weight is ${compute(state, data).weights[moved].toFixed(2)}, and the four add up to 1.`;
}

function arrow(point, colour, label, width = 2.5) {
  const [x, y] = [CENTRE[0] + UNIT * point[0], CENTRE[1] - UNIT * point[1]];
  const size = Math.hypot(...point) || 1;
  const [dx, dy] = [point[0] / size, -point[1] / size];
  const back = 5 + 1.6 * width, half = 1.5 + width; // the head's size
  const [baseX, baseY] = [x - back * dx, y - back * dy];
  const head = `M${x} ${y}L${baseX - half * dy} ${baseY + half * dx}L${baseX + half * dy} ${baseY - half * dx}Z`;
  return `<path d="M${CENTRE[0]} ${CENTRE[1]}L${baseX} ${baseY}" stroke="${colour}" stroke-width="${width}"/><path d="${head}" fill="${colour}"/>` +
    `<text x="${x + 16 * dx}" y="${y + 14 * dy + 4}" text-anchor="middle" fill="${colour}">${label}</text>`;
}

function render({ model, el }) {
  makeTool({
    model, el, name: "key-dial", say: sentence,
    controls: [
      { name: "angle", text: "angle of the orange key (degrees from the query)", min: -180, max: 180, step: 5 },
      { name: "length", text: "length of the orange key", min: 0, max: 4, step: 0.25 },
      { name: "hidden", text: "hide it (score −∞)", kind: "check" },
    ],
    draw(state, data) {
      const { keys, scores, weights } = compute(state, data);
      // The query lies below, broad, and has its name beside it: a key that points the same way stays in sight.
      let body = arrow(data.query, COLOURS.QUERY, "", 6) +
        `<text x="${CENTRE[0] + UNIT * data.query[0] * 0.65}" y="${CENTRE[1] + 20}" text-anchor="middle" fill="${COLOURS.QUERY}">query</text>`;
      keys.forEach((key, i) => { body += arrow(key, data.fixed[i] ? COLOURS.GREY : COLOURS.KEY, data.words[i]); });
      body += `<text x="${BARS}" y="40">weight of each key (score in brackets)</text>`;
      weights.forEach((weight, i) => {
        const y = 60 + 50 * i, score = scores[i] === -Infinity ? "−∞" : scores[i].toFixed(2).replace("-", "−");
        body += `<text x="${BARS - 10}" y="${y + 20}" text-anchor="end">${data.words[i]}</text>` +
          `<rect class="weight" x="${BARS}" y="${y}" width="${(200 * weight).toFixed(1)}" height="30" fill="${data.fixed[i] ? COLOURS.GREY : COLOURS.KEY}"/>` +
          `<text x="${BARS + 8 + 200 * weight}" y="${y + 20}">${weight.toFixed(2)} (${score})</text>`;
      });
      return svgPicture(WIDTH, HEIGHT, sentence(state, data), body);
    },
  });
}

export default { render };
