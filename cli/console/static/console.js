// What the queue tells of the boxes that are ticked. Everything else works without any script.
"use strict";

function boxes() {
  return [...document.querySelectorAll('#chosen tbody input[type="checkbox"]')];
}

function tell() {
  const every = document.getElementById("every");
  const told = document.getElementById("picked");
  if (!every || !told) return;
  const all = boxes();
  const ticked = all.filter((box) => box.checked).length;
  every.checked = ticked === all.length;
  every.indeterminate = ticked > 0 && ticked < all.length;
  const words = ticked === 0 ? told.dataset.none : ticked === 1 ? told.dataset.one : told.dataset.many;
  told.textContent = words.replace("{}", String(ticked));
}

document.addEventListener("change", (event) => {
  if (event.target.id === "every") {
    for (const box of boxes()) box.checked = event.target.checked;
  }
  tell();
});
document.addEventListener("htmx:afterSettle", tell);
document.addEventListener("DOMContentLoaded", () => {
  tell();
  // what was typed before htmx listened, on a slow machine
  const text = document.getElementById("text");
  if (text && text.value !== text.defaultValue) text.dispatchEvent(new Event("change", { bubbles: true }));
});
