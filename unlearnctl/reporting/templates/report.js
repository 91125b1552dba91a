// The page holds positions and labels; nothing is computed here.
(() => {
  const charts = JSON.parse(document.getElementById("points").textContent);

  async function copy(button, code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // no clipboard here: leave it selected for Ctrl-C
      button.textContent = "Selected";
      return;
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  document.querySelectorAll("[data-chart]").forEach((figure) => reader(figure, () => charts[figure.dataset.chart]));
  document.querySelectorAll(".copyable").forEach((box) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", () => copy(button, box.querySelector("code")));
    box.append(button);
  });
})();
