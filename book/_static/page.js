// What a static page still needs: for the keyboard, for a screen reader, and for paper.

document.addEventListener("DOMContentLoaded", () => {
  // The sidebar's captions call themselves headings without saying of which level.
  document.querySelectorAll('[role="heading"]:not([aria-level])').forEach((heading) => heading.setAttribute("aria-level", "2"));
  // What scrolls must be reachable, or a keyboard cannot scroll it.
  const scrolls = document.querySelectorAll("pre, .cell_output, .table-wrapper, .live-tool, .figure-scroll, .output, mjx-container");
  scrolls.forEach((box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  });
});

// Before print every explanation is unfolded: paper has nothing to click.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
