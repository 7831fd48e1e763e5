// The line between before and after stands where the slider says, of the part that is in view.
const line = () => {
  const view = element.querySelector(".view");
  if (!view) return;
  const at = element.querySelector(".at").value / 100;
  const x = view.scrollLeft + at * view.clientWidth;
  element.querySelector(".stage").style.setProperty("--at", `${x}px`);
};
element.addEventListener("input", line);
element.addEventListener("scroll", line, true);
element.addEventListener("load", line, true);
window.addEventListener("resize", line);
// What is uncertain is shown over the result, or the result alone.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-doubt]");
  if (!button) return;
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  element.querySelector(".doubt").hidden = !shown;
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  const view = element.querySelector(".view");
  const stage = element.querySelector(".stage");
  const image = stage.querySelector(".after");
  const zoom = button.dataset.zoom;
  const middle = [
    (view.scrollLeft + view.clientWidth / 2) / stage.clientWidth,
    (view.scrollTop + view.clientHeight / 2) / stage.clientHeight,
  ];
  stage.style.width = zoom === "fit" ? "100%" : `${image.naturalWidth * zoom}px`;
  stage.style.imageRendering = zoom === "3" ? "pixelated" : "auto";
  view.scrollLeft = middle[0] * stage.clientWidth - view.clientWidth / 2;
  view.scrollTop = middle[1] * stage.clientHeight - view.clientHeight / 2;
  for (const other of element.querySelectorAll("[data-zoom]"))
    other.setAttribute("aria-pressed", String(other === button));
  line();
});
watch("value", line);
