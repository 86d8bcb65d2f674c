// The queue and an alert by keyboard alone. Everything here is also a link or a button; without this file nothing is lost.
"use strict";
document.documentElement.classList.add("js");

const OFF = "dosimeter-keys-off";
const rows = [...document.querySelectorAll("#rows tbody tr")];
let current = -1;

function enabled() {
  try { return localStorage.getItem(OFF) === null; } catch { return true; }
}

function select(index, focus) {
  if (index < 0 || index >= rows.length) return;
  if (current >= 0) rows[current].classList.remove("current");
  current = index;
  rows[current].classList.add("current");
  if (focus) rows[current].querySelector("a.open").focus();
  rows[current].scrollIntoView({ block: "nearest" });
}

function verdict(value) {
  const place = rows.length ? rows[current] : document.getElementById("verdict");
  const button = place && place.querySelector(`button[name="verdict"][value="${value}"]`);
  if (button) button.click();
}

const queue = {
  j: () => select(Math.min(current + 1, rows.length - 1), true),
  k: () => select(Math.max(current - 1, 0), true),
  Enter: () => rows[current] && rows[current].querySelector("a.open").click(),
};
const anywhere = {
  t: () => verdict("true"),
  f: () => verdict("false"),
  u: () => verdict("unsure"),
  e: () => focusOn("#reason"),
  q: () => { const back = document.getElementById("back"); if (back) back.click(); },
  "/": () => focusOn("form[role=search] input"),
  "?": () => {
    const help = document.getElementById("keys");
    if (help) { help.open = !help.open; if (help.open) { help.querySelector("summary").focus(); help.scrollIntoView({ block: "nearest" }); } }
  },
};

function focusOn(selector) {
  const found = document.querySelector(selector);
  if (found) found.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !enabled()) return;
  const at = event.target;
  if (event.key === "Escape" && at.matches("input, textarea, select")) { at.blur(); return; }
  if (at.matches("input, textarea, select, [contenteditable]")) return;
  if (event.key === "Enter" && at.matches("a, button, summary")) return; // the browser's own
  const act = (rows.length && queue[event.key]) || anywhere[event.key];
  if (act) { event.preventDefault(); act(); }
});

rows.forEach((row, index) => row.addEventListener("focusin", () => select(index, false)));
if (rows.length) {
  const named = rows.findIndex((row) => `#${row.id}` === location.hash);
  select(named >= 0 ? named : 0, named >= 0);
}

const toggle = document.getElementById("keys-on");
if (toggle) {
  toggle.checked = enabled();
  toggle.addEventListener("change", () => {
    try { if (toggle.checked) localStorage.removeItem(OFF); else localStorage.setItem(OFF, "1"); } catch { /* not kept */ }
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "copied";
});
