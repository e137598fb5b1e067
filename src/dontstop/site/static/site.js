"use strict";
// Tables sort by a click on a heading (or Enter), numbers as numbers; figures enlarge by a click, Escape closes them.

const number = (text) => {
  const found = text.replaceAll(",", "").replaceAll("−", "-").match(/^[^\d-]{0,2}(-?\d+(\.\d+)?)/);
  return found ? Number(found[1]) : null;
};

const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return x - y;
  if ((x === null) !== (y === null)) return x === null ? 1 : -1;
  return a.localeCompare(b);
};

const sort = (heading) => {
  const table = heading.closest("table"), column = heading.cellIndex;
  const sign = heading.ariaSort === "ascending" ? -1 : 1;
  const rows = [...table.tBodies[0].rows];
  const cell = (row) => row.cells[column]?.textContent.trim() ?? "";
  rows.sort((a, b) => sign * compare(cell(a), cell(b)));
  table.tBodies[0].append(...rows);
  for (const other of heading.parentElement.cells) other.ariaSort = "none";
  heading.ariaSort = sign > 0 ? "ascending" : "descending";
};

const enlarge = (image) => {
  const dialog = document.createElement("dialog"), copy = new Image();
  copy.src = image.src;
  copy.alt = image.alt;
  dialog.className = "enlarged";
  dialog.append(copy);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
};

document.addEventListener("DOMContentLoaded", () => {
  for (const heading of document.querySelectorAll("article thead tr:last-child th")) {
    heading.ariaSort = "none";
    heading.tabIndex = 0;
    heading.addEventListener("click", () => sort(heading));
    heading.addEventListener("keydown", (event) => event.key === "Enter" && sort(heading));
  }
  for (const image of document.querySelectorAll("article img")) image.addEventListener("click", () => enlarge(image));
});
