"use strict";
// Tables become sortable; without a script they read as they are.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("n") ? "descending" : "ascending";
      const second = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const x = key(a), y = key(b), nx = Number(x), ny = Number(y);
        const noX = x === "–", noY = y === "–"; // what is missing stays last
        if (noX || noY) return noX - noY;
        return sign * (Number.isNaN(nx) || Number.isNaN(ny) ? x.localeCompare(y) : nx - ny);
      };
      const rows = [...body.rows].sort(compare);
      for (const row of rows) row.classList.remove("new");
      body.append(...rows);
    });
  });
}
// On a phone the columns that matter less are one touch away.
for (const table of document.querySelectorAll("table.sortable")) {
  if (!table.querySelector("th.wide")) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "columns";
  button.setAttribute("aria-pressed", "false");
  button.textContent = "All columns";
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(table.classList.toggle("all")));
  });
  table.parentElement.after(button);
}
// A link into what is folded opens it.
const unfold = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
