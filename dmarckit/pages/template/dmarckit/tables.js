// Sorts a table when a column's heading is pressed, and filters long ones by what is typed.
// Without this script tables stay as they are.
(() => {
  const LONG = 10; // rows from which a table gets a filter
  const text = new Intl.Collator(document.documentElement.lang, { numeric: true });

  function value(row, column) {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent : cell.dataset.sort;
  }

  function compare(a, b) {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) || a === "" || b === "" ? text.compare(a, b) : x - y;
  }

  function sort(table, heading) {
    const isNumber = !heading.classList.contains("text");
    const was = heading.getAttribute("aria-sort");
    const order = was === "descending" ? "ascending" : was === "ascending" ? "descending" : isNumber ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const column = heading.cellIndex;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => sign * compare(value(a, column), value(b, column)));
    table.tBodies[0].append(...rows);
  }

  function filter(table) {
    const rows = [...table.tBodies[0].rows];
    const input = document.createElement("input");
    const said = document.createElement("span");
    input.type = "search";
    input.placeholder = TEXTS.filter;
    input.setAttribute("aria-label", say(TEXTS.filter_of, { table: table.caption.textContent }));
    said.setAttribute("role", "status");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      said.textContent = input.value ? say(TEXTS.some, { n: left, all: rows.length }) : "";
    });
    const box = document.createElement("p");
    box.className = "dk-filter";
    box.append(input, said);
    table.closest(".dk-scroll").before(box);
  }

  for (const table of document.querySelectorAll(".dk .dk-table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    if (table.tBodies[0].rows.length > LONG) filter(table);
    for (const heading of table.tHead.rows[0].cells) {
      if (!heading.textContent.trim()) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading));
      heading.append(button);
    }
  }

  // the newest days are at the right
  for (const days of document.querySelectorAll(".dk-days")) {
    const box = days.closest(".dk-scroll");
    box.scrollLeft = box.scrollWidth;
  }
})();
