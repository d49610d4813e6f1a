// What a static page still needs: for the keyboard, for a screen reader, for paper, and for answers where no kernel runs.

const KEPT = "minimistral-predictions";

function predictions() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) || {};
  } catch {
    return {}; // no storage here, or not ours: the page works, and forgets
  }
}

function keep(id, option) {
  try {
    localStorage.setItem(KEPT, JSON.stringify({ ...predictions(), [id]: option }));
  } catch {
    // nothing to do: see above
  }
}

function showPrediction(id, option) {
  document.querySelectorAll(`.revealed[data-prediction="${id}"] span`).forEach((place) => {
    place.textContent = `You predicted ${option}. `;
  });
}

function wakePrediction(fields) {
  const id = fields.dataset.prediction;
  const earlier = predictions()[id];
  fields.querySelectorAll("input").forEach((input) => (input.checked = input.value === earlier));
  if (earlier !== undefined) showPrediction(id, earlier);
  fields.querySelector("button").addEventListener("click", () => {
    const chosen = fields.querySelector("input:checked");
    fields.querySelector("output").textContent = chosen ? "Kept. The measurement is further down." : "Choose one first.";
    if (!chosen) return;
    keep(id, chosen.value);
    showPrediction(id, chosen.value);
  });
}

// What scrolls must be reachable, or a keyboard cannot scroll it.
function reach() {
  const scrolls = document.querySelectorAll("pre, .cell_output, .table-wrapper, .live-tool, .figure-scroll, .output, mjx-container");
  scrolls.forEach((box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  });
}

document.addEventListener("DOMContentLoaded", () => {
  // The sidebar's captions call themselves headings without saying of which level.
  document.querySelectorAll('[role="heading"]:not([aria-level])').forEach((heading) => heading.setAttribute("aria-level", "2"));
  reach();
  document.querySelectorAll("fieldset.prediction").forEach(wakePrediction);
  document.querySelectorAll(".quiz button").forEach((button) =>
    button.addEventListener("click", () => button.parentElement.querySelectorAll("details").forEach((part) => (part.open = false))));
});

// Again once formulas are typeset and pictures have their size, and in a window of another width.
window.addEventListener("load", () => Promise.resolve(window.MathJax?.startup?.promise).then(reach));
window.addEventListener("resize", reach);

// Before print every explanation is unfolded: paper has nothing to click.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
