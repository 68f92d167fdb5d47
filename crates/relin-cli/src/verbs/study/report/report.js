// Sorts a table by the column whose name is pressed: upwards, then downwards. Numbers without a value come last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.setAttribute("aria-sort", "none");
    head.querySelector("button").addEventListener("click", () => sort(table, heads, column));
  });
}

function sort(table, heads, column) {
  const upwards = heads[column].getAttribute("aria-sort") !== "ascending";
  const numeric = heads[column].classList.contains("number");
  const key = (row) => {
    const cell = row.cells[column];
    return numeric ? parseFloat(cell.dataset.value) : cell.textContent;
  };
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (!numeric) return upwards ? x.localeCompare(y) : y.localeCompare(x);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return upwards ? x - y : y - x;
  };
  const rows = [...table.tBodies[0].rows].sort(compare);
  table.tBodies[0].append(...rows);
  heads.forEach((head, at) => {
    head.setAttribute("aria-sort", at !== column ? "none" : upwards ? "ascending" : "descending");
  });
}
