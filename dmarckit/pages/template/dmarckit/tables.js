// Sorts a table when a column's heading is pressed, filters long ones by what is typed, and shows
// the rows that are hidden when they are asked for. Without this script tables stay as they are.
(() => {
  const LONG = 10; // rows from which a table gets a filter
  const collator = new Intl.Collator(document.documentElement.lang, { numeric: true });

  function make(name, properties, ...content) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...content);
    return element;
  }

  function value(row, column) {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent : cell.dataset.sort;
  }

  function compare(a, b) {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) || a === "" || b === "" ? collator.compare(a, b) : x - y;
  }

  function equip(table) {
    const [body, hidden] = table.tBodies;
    const box = table.closest(".dk-scroll");
    const more = box.nextElementSibling;
    // rows in sight
    let shown = Math.min(body.rows.length, window.innerWidth > 640 || !hidden ? Infinity : 8);
    let rows = [...body.rows, ...(hidden ? hidden.rows : [])];
    let words = [];
    if (hidden) hidden.remove();
    if (rows.length < 2) return;

    const texts = new Map();
    function matches(row) {
      if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
      return words.every((word) => texts.get(row).includes(word));
    }

    const said = make("span", { role: "status" });
    const all = make("button", { type: "button" });
    function show() {
      const found = rows.filter(matches);
      body.replaceChildren(...found.slice(0, shown));
      said.textContent = words.length ? say(TEXTS.some, { n: found.length, all: rows.length }) : "";
      if (hidden) more.hidden = found.length <= shown;
      all.textContent = say(TEXTS.all, { n: found.length });
    }

    if (hidden) {
      all.addEventListener("click", () => {
        const first = shown;
        shown = rows.length;
        show();
        box.focus();
        body.rows[first]?.scrollIntoView({ block: "center" });
      });
      more.replaceChildren(all);
    }
    if (rows.length > LONG) {
      const input = make("input", { type: "search", placeholder: TEXTS.filter });
      input.setAttribute("aria-label", say(TEXTS.filter_of, { table: table.caption.textContent }));
      input.addEventListener("input", () => {
        words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        show();
      });
      box.before(make("p", { className: "dk-filter" }, input, said));
    }
    const headings = [...table.tHead.rows[0].cells];
    for (const heading of headings) {
      if (!heading.textContent.trim()) continue;
      const button = make("button", { type: "button" }, ...heading.childNodes);
      button.addEventListener("click", () => {
        const first = heading.classList.contains("text") ? "ascending" : "descending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = heading.getAttribute("aria-sort") === first ? other : first;
        for (const each of headings) each.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1, column = heading.cellIndex;
        const keys = new Map(rows.map((row) => [row, value(row, column)]));
        rows.sort((a, b) => sign * compare(keys.get(a), keys.get(b)));
        show();
      });
      heading.append(button);
    }
    if (hidden) show();
  }

  for (const table of document.querySelectorAll(".dk .dk-table")) equip(table);

  // the newest days are at the right
  for (const days of document.querySelectorAll(".dk-days")) {
    const box = days.closest(".dk-scroll");
    box.scrollLeft = box.scrollWidth;
  }
})();
