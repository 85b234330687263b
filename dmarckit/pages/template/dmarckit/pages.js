// A box above each long list that leaves only those whose names hold what is typed.
(() => {
  const FEW = 8;

  function filter(list, text, count) {
    const wanted = text.trim().toLowerCase();
    const all = list.children.length;
    let shown = 0;
    for (const item of list.children) {
      item.hidden = !item.dataset.name.includes(wanted);
      shown += item.hidden ? 0 : 1;
    }
    count.textContent = say(TEXTS.some, { n: shown, all });
  }

  for (const list of document.querySelectorAll(".domains")) {
    if (list.children.length <= FEW) continue;
    const form = document.createElement("p");
    form.className = "filter";
    const box = document.createElement("input");
    box.type = "search";
    box.placeholder = TEXTS.filter;
    box.setAttribute("aria-label", TEXTS.filter);
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    form.append(box, count);
    list.before(form);
    box.addEventListener("input", () => filter(list, box.value, count));
    filter(list, "", count);
  }
})();
