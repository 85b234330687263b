// A button that copies, at every record to paste. Without this script a press selects all of it.
(() => {
  for (const box of document.querySelectorAll(".dk-record")) {
    const code = box.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = TEXTS.copy;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = TEXTS.copied;
      } catch {
        window.getSelection().selectAllChildren(code);
        button.textContent = TEXTS.selected;
      }
      setTimeout(() => { button.textContent = TEXTS.copy; }, 2500);
    });
    box.append(button);
  }
})();
