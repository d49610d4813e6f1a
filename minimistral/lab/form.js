// Questions with choices: fieldset, legend and radio buttons, so that keyboard and screen reader work as on any page.

function draw(model, el) {
  const answers = { ...model.get("answers") };
  el.replaceChildren();
  model.get("items").forEach((item, number) => {
    const box = document.createElement("fieldset");
    box.className = "minimistral-question";
    box.style.cssText = "border: 1px solid #999; border-radius: 4px; margin: 0.6em 0; padding: 0.4em 0.9em; max-width: 46em; color: var(--jp-content-font-color1, inherit)";
    const legend = document.createElement("legend");
    legend.textContent = item.text;
    legend.style.cssText = "padding: 0 0.3em; font-weight: 600";
    box.append(legend);
    item.options.forEach((option, index) => {
      const label = document.createElement("label");
      label.style.cssText = "display: block; padding: 0.15em 0; cursor: pointer";
      const radio = document.createElement("input");
      Object.assign(radio, { type: "radio", name: `${model.model_id}-${number}`, value: index });
      radio.checked = answers[item.id] === index;
      radio.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys
      label.append(radio, ` ${option}`);
      box.append(label);
    });
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = model.get("button");
    button.style.cssText = "margin: 0.4em 0; padding: 0.2em 0.9em";
    const reply = document.createElement("p");
    reply.setAttribute("role", "status");
    reply.setAttribute("aria-live", "polite");
    reply.style.cssText = "margin: 0.3em 0; min-height: 1.2em";
    const respond = (index) => {
      if (item.key === undefined) {
        reply.textContent = `Kept: ${item.options[index]}. Run on; the chapter comes back to it.`;
      } else {
        reply.textContent = `${index === item.key ? "Yes." : "Not quite."} ${item.notes[index]}`;
      }
    };
    button.onclick = () => {
      const chosen = box.querySelector("input:checked");
      if (!chosen) {
        reply.textContent = "Choose one first.";
        return;
      }
      answers[item.id] = Number(chosen.value);
      model.set("answers", { ...answers });
      model.save_changes();
      respond(Number(chosen.value));
    };
    if (item.id in answers) respond(answers[item.id]);
    box.append(button, reply);
    el.append(box);
  });
}

export default {
  render({ model, el }) {
    draw(model, el);
  },
};
