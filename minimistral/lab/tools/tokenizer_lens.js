// The tokenizer lens: type a text, and see what two vocabularies make of it. Python encodes; here it is drawn.

function chip(piece) {
  const colour = piece.is_byte ? COLOURS.AMBER : COLOURS.LIGHT;
  return `<span data-id="${piece.id}" data-byte="${piece.is_byte}" style="display: inline-block; margin: 1px 2px 3px 0; padding: 1px 5px; ` +
    `border: 1px solid ${COLOURS.GREY}; border-radius: 4px; background: ${colour}; color: ${COLOURS.INK}; text-align: center; line-height: 1.25">` +
    `<b style="white-space: pre">${escapeText(piece.text)}</b><br><span style="font-size: 85%">${piece.id}</span><br>` +
    `<span style="font-size: 75%; font-family: monospace">${piece.bytes}</span></span>`;
}

function column(name, size, found) {
  const single = found.filter((piece) => piece.is_byte).length;
  return `<section data-vocabulary="${escapeText(name)}" style="flex: 1 1 22em; min-width: 0">` +
    `<h4 style="margin: 0.2em 0">${escapeText(name)}: ${size.toLocaleString("en")} pieces</h4>` +
    `<p style="margin: 0.2em 0 0.4em"><b class="count">${found.length}</b> ${found.length === 1 ? "token" : "tokens"}, ` +
    `${single || "none"} of them ${single === 1 ? "a single byte" : "single bytes"}</p>` +
    `<div>${found.map(chip).join("")}</div></section>`;
}

function render({ model, el }) {
  const { sizes, examples, longest } = model.get("data");
  let last = null; // stays on the screen, paler, until Python has answered
  makeTool({
    model, el, name: "tokenizer-lens", ask: true,
    controls: [
      { name: "text", text: "text", kind: "text" },
      { name: "example", text: "or an example", kind: "choice",
        options: [["", "your own text"], ...Object.keys(examples).map((name) => [name, name])] },
    ],
    fix(state, changed) {
      if (changed === "example" && state.example) state.text = examples[state.example];
      if (changed === "text") state.example = "";
    },
    say: (state, data, answer) => (answer ? answer.said : "…"),
    draw(state, data, answer) {
      if (answer) last = answer;
      if (!last) return "<p>Asking the kernel …</p>";
      const cut = [...state.text].length > longest ? `<p>The first ${longest} characters are shown.</p>` : "";
      return `<div style="display: flex; flex-wrap: wrap; gap: 0.6em 1.5em; opacity: ${answer ? 1 : 0.5}; color: var(--jp-ui-font-color1, inherit)">` +
        Object.entries(last.found).map(([name, found]) => column(name, sizes[name], found)).join("") +
        `</div>${cut}<p style="margin: 0.3em 0; font-size: 85%; color: var(--jp-ui-font-color1, inherit)">In a box: the piece (▁ is a space), its id, its bytes. ` +
        `<span style="background: ${COLOURS.AMBER}; color: ${COLOURS.INK}; padding: 0 4px">Orange</span>: no piece for it, so a single byte.</p>`;
    },
  });
  const field = el.querySelector('input[data-name="text"]');
  field.style.width = "24em";
  field.style.maxWidth = "60vw";
  field.spellcheck = false;
  field.autocomplete = "off";
}

export default { render };
