// A button that copies, at every record to paste. Without this script a press selects all of it.
(() => {
  for (const box of document.querySelectorAll(".dk-record")) {
    const code = box.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(code);
        button.textContent = "Selected: copy it now";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
    box.append(button);
  }
})();
