// What HTML and htmx cannot say by themselves. Every page works without this file.
"use strict";

// A click on a problem jumps to its field.
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-focus]");
  const field = link && document.getElementById(link.dataset.focus);
  if (!field) return;
  event.preventDefault();
  field.closest("details")?.setAttribute("open", "");
  field.scrollIntoView({ block: "center" });
  field.focus({ preventScroll: true });
});

// A dialog that arrives is opened as a modal one; Cancel closes it.
const place = document.querySelector("[data-modal]");
if (place) {
  new MutationObserver(() => {
    const dialog = place.querySelector("dialog:not([open])");
    if (!dialog) return;
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  }).observe(place, { childList: true });
}
document.addEventListener("click", (event) => {
  const dialog = event.target.closest("[data-close]")?.closest("dialog");
  if (!dialog) return;
  event.preventDefault();
  dialog.close();
});

// Cancel in a row that was never saved takes the row away.
document.addEventListener("click", (event) => {
  const row = event.target.closest("[data-drop-row]")?.closest("tr");
  if (!row || !row.parentElement.querySelector("tr:not(.editing)") && !document.querySelector("[data-add-row]")) return;
  event.preventDefault();
  row.remove();
});

// F5 adds a row at the end, as people know it: to the table they are in, else to the first.
document.addEventListener("keydown", (event) => {
  if (event.key !== "F5" || event.ctrlKey || event.shiftKey || event.altKey || event.metaKey) return;
  const here = document.activeElement?.closest(".box")?.querySelector("[data-add-row]");
  const add = here || document.querySelector("[data-add-row]");
  if (!add) return;
  event.preventDefault();
  if (!event.repeat) add.click();
});

// A step that cannot be undone asks first.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
}, true);

// The list shows which message is open.
document.addEventListener("click", (event) => {
  const chosen = event.target.closest(".messages a");
  if (!chosen) return;
  for (const link of document.querySelectorAll(".messages a[aria-current]")) link.removeAttribute("aria-current");
  chosen.setAttribute("aria-current", "true");
});
