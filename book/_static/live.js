// Wakes the tools of a page: each is the same module as in JupyterLab, given a model that has its data and no Python behind it.

class Model {
  constructor(given) {
    this.given = given;
    this.listeners = [];
    this.known = new Map(given.known.map((answer) => [JSON.stringify(answer.state), answer]));
  }
  get(name) {
    return this.given[name];
  }
  set(name, value) {
    this.given[name] = value;
  }
  save_changes() {}
  on(event, listener) {
    if (event === "msg:custom") this.listeners.push(listener);
  }
  off() {}
  send(state) {
    const answer = this.known.get(JSON.stringify(state)) ?? { state, unknown: true }; // else the tool would wait for ever
    setTimeout(() => this.listeners.forEach((listener) => listener(answer)));
  }
}

async function wake(element) {
  const given = JSON.parse(element.querySelector("script").textContent);
  const { default: tool } = await import(new URL(`tools/${element.dataset.module}`, import.meta.url));
  const place = document.createElement("div");
  await tool.render({ model: new Model(given), el: place });
  element.querySelector(".live-still").replaceChildren(place); // only now: a tool that fails leaves its picture
  element.classList.add("is-alive");
  const picture = place.querySelector(".minimistral-picture");
  if (picture && picture.scrollWidth > picture.clientWidth + 1) picture.tabIndex = 0; // so that a keyboard can scroll it
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    wake(entry.target);
  }
}, { rootMargin: "600px" });
document.querySelectorAll(".live-tool").forEach((element) => seen.observe(element));
