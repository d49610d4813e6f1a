// Before print every explanation is unfolded: paper has nothing to click.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
