// What every tool that draws in the browser shares: labelled controls that the keyboard reaches, a sentence that a screen
// reader reads out, a picture, and at most one question to Python under way. COLOURS comes from theme.py.
//
// makeTool({ model, el, name, controls, say, draw, ask, fix }) reads the state from model.get("start"):
//   name      names the tool: its element gets the classes minimistral-<name> and minimistral-tool
//   controls  [{ name, text, kind: "range" | "choice" | "check" | "text" | "button", min, max, step, format, options, press }]
//             name: what it sets in the state; text: its label, or what stands on the button; kind: else a range
//             range: min, max and step (else 1), and format(value, state) -> what is written beside it (else the value)
//             choice: options, as [value, text] pairs; button: press(state, data), called before the picture is drawn anew
//             min, max, step and options may be functions of the state
//   say       (state, data, answer) -> one sentence, read out after each change
//             data is model.get("data"), whatever else Python gave
//   draw      (state, data, answer) -> the picture, as the text of an <svg> (see svgPicture) or of HTML; what can be
//             focused in it has a data-part, so that it keeps the focus when the picture is drawn anew
//   ask       true where Python has to compute something: it gets the state, and answers {state, ...}; a late answer to a
//             state that has passed is not drawn. Until the answer is there, `answer` is null.
//   fix       (state, changed) puts in order what a change has put out of order; changed is the control's name
// It returns { state, data, redraw }; redraw() draws what was changed in the state by other means.

function svgPicture(width, height, label, body) {
  return `<svg viewBox="0 0 ${width} ${height}" width="100%" style="max-width: ${width}px; background: ${COLOURS.PAPER}; ` +
    `display: block; border-radius: 4px; font-family: sans-serif" font-size="11" fill="${COLOURS.INK}" role="img" ` +
    `aria-label="${escapeText(label)}">${body}</svg>`;
}

function counted(number, what) {
  return `${number.toLocaleString("en-US")} ${what}${number === 1 ? "" : "s"}`; // as minimistral.lab.counted says it
}

function escapeText(text) {
  return String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

function makeTool({ model, el, name, controls, say, draw, ask = false, fix = () => {} }) {
  const state = { ...model.get("start") }, data = model.get("data") || {};
  const now = (value) => (typeof value === "function" ? value(state) : value);
  const key = () => JSON.stringify(state);
  let answer = model.get("answer"), asked = null;
  if (answer && !Object.keys(answer).length) answer = null;
  el.classList.add(`minimistral-${name}`, "minimistral-tool");
  el.replaceChildren();
  const panel = document.createElement("div");
  panel.style.cssText = "display: grid; grid-template-columns: max-content minmax(9em, 18em) 5em; gap: 0.25em 0.8em; " +
    "align-items: center; margin: 0.4em 0; color: var(--jp-ui-font-color1, inherit)";
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  said.style.cssText = "margin: 0.4em 0; max-width: 60em; color: var(--jp-ui-font-color1, inherit)";
  const picture = document.createElement("div");
  picture.className = "minimistral-picture";
  const parts = {};

  const question = () => {
    if (!ask || answer || asked) return;
    asked = key();
    model.send({ ...state });
  };
  const redraw = () => {
    for (const control of controls) parts[control.name].show();
    const held = picture.contains(document.activeElement) && document.activeElement.dataset.part;
    picture.innerHTML = draw(state, data, answer);
    if (held) picture.querySelector(`[data-part="${held}"]`)?.focus(); // the picture was drawn anew
    said.textContent = say(state, data, answer);
  };
  const changed = (control) => {
    fix(state, control);
    answer = null;
    redraw();
    question();
  };

  for (const control of controls) {
    const id = `minimistral-${name}-${control.name}-${Math.random().toString(36).slice(2)}`;
    const label = document.createElement("label");
    label.textContent = control.text;
    label.htmlFor = id;
    const value = document.createElement("output");
    let input;
    if (control.kind === "choice") {
      input = document.createElement("select");
      let options = "";
      input.onchange = () => {
        state[control.name] = now(control.options)[input.selectedIndex][0];
        changed(control.name);
      };
      parts[control.name] = { show() {
        const html = now(control.options).map(([, text]) => `<option>${escapeText(text)}</option>`).join("");
        if (html !== options) input.innerHTML = options = html;
        input.selectedIndex = now(control.options).findIndex(([v]) => v === state[control.name]);
      } };
    } else if (control.kind === "button") {
      input = document.createElement("button");
      input.type = "button";
      input.textContent = control.text;
      label.textContent = "";
      input.onclick = () => {
        control.press(state, data);
        changed(control.name);
      };
      parts[control.name] = { show() {} };
    } else {
      input = document.createElement("input");
      input.type = { check: "checkbox", text: "text" }[control.kind] || "range";
      if (control.kind === "check") input.style.justifySelf = "start";
      input.oninput = () => {
        state[control.name] = control.kind === "check" ? input.checked : control.kind === "text" ? input.value : Number(input.value);
        changed(control.name);
      };
      parts[control.name] = { show() {
        if (control.kind === "check") input.checked = state[control.name];
        else if (control.kind === "text") {
          if (input.value !== state[control.name]) input.value = state[control.name];
        } else {
          Object.assign(input, { min: now(control.min), max: now(control.max), step: now(control.step) ?? 1 });
          input.value = state[control.name];
          value.textContent = control.format ? control.format(state[control.name], state) : state[control.name];
        }
      } };
    }
    input.id = id;
    input.dataset.name = control.name;
    input.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys and single letters
    panel.append(label, input, value);
  }
  model.on("msg:custom", (message) => {
    asked = null;
    if (JSON.stringify(message.state) !== key()) question();
    else if (!message.unknown) { // a page without Python does not know every answer
      answer = message;
      redraw();
    }
  });
  el.append(panel, said, picture);
  redraw();
  question();
  return { state, data, redraw };
}
