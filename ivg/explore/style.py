"""How the page looks: everything comes from this server and from the system's own fonts."""

CSS = """
.gradio-container { max-width: 1160px !important; margin: 0 auto !important;
  overflow: clip !important; }
.ivg-head h1 { font-size: 1.4rem; margin: 0; }
.ivg-head h1 span { font-weight: 400; opacity: .7; font-size: 1rem; }
.ivg-head p { margin: .3rem 0 0; }
.ivg-large { margin: 0; }
.ivg-large img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; display: block; }
.ivg-large figcaption { margin-top: .5rem; }
.ivg-small { margin: 0; display: flex; gap: .7rem; align-items: center; }
.ivg-small img { width: 64px; image-rendering: pixelated; }
.ivg-small figcaption { order: -1; opacity: .7; }
.ivg-top > :first-child { position: sticky; top: 0; align-self: flex-start; z-index: 90;
  background: var(--body-background-fill); }
.ivg-save { margin: 0 1.2rem 0 0 !important; padding: 0; }
.ivg-buttons { align-items: center; gap: .5rem; }
.ivg-buttons > button { flex: 0 0 auto !important; width: auto !important; padding: .5rem .9rem;
  min-width: max-content !important; white-space: nowrap; }
.ivg-buttons > .form:has(#seed) { flex: 0 0 auto; margin-left: auto; }
.ivg-buttons > .form:has(#seed), #seed { border: 0; background: none; padding: 0; }
#seed label { display: flex; align-items: center; gap: .5rem; justify-content: end; }
#seed label > span { margin: 0; }
#seed input { width: 5.5rem; padding: .35rem .5rem; }
.ivg-pick label { padding: .35rem .75rem; position: relative; }
.ivg-pick label input { position: absolute; opacity: 0; }
.ivg-pick label span { margin: 0; padding: 0; }
.ivg-pick label:has(:checked) { background: var(--color-accent); border-color: transparent; }
.ivg-pick label:has(:checked) span { color: white; }
.ivg-pick label:has(:focus-visible) { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.ivg-row { display: grid; grid-template-columns: 9rem 1fr; gap: .6rem 1rem; align-items: center; }
.ivg-row > picture { grid-row: span 2; }
.ivg-row p { margin: 0; }
.ivg-moving { width: 100%; image-rendering: pixelated; display: block; }
.ivg-strip { display: grid; grid-template-columns: repeat(10, 1fr); gap: 4px; }
.ivg-strip img { width: 100%; image-rendering: pixelated; display: block; }
.ivg-picker p { margin: 0 0 .3rem; opacity: .7; }
.ivg-picker [role=group] { display: grid; gap: 4px;
  grid-template-columns: repeat(auto-fill, minmax(52px, 1fr)); }
.ivg-picker button, .ivg-picker img, .ivg-strip img { margin: 0 !important; }
.ivg-picker button { padding: 2px; border: 2px solid transparent; border-radius: 4px;
  background: none; cursor: pointer; line-height: 0; }
.ivg-picker button:hover, .ivg-picker button:focus-visible { border-color: var(--color-accent); }
.ivg-picker button[aria-pressed=true] { border-color: var(--color-accent); }
.ivg-picker img { width: 100%; image-rendering: pixelated; }
@media (max-width: 640px) {
  .ivg-top > :first-child { flex-direction: row; flex-wrap: nowrap; align-items: end;
    padding-bottom: .5rem; min-width: 100% !important; }
  #picture { flex: 0 0 62%; }
  .ivg-small { flex-direction: column; align-items: start; gap: .3rem; }
  .ivg-row { grid-template-columns: 1fr; }
  .ivg-moving { width: 9rem; }
  .ivg-buttons > button { padding: .5rem .6rem; }
  .ivg-strip { grid-template-columns: repeat(5, 1fr); }
}
"""

# A click on one of the images that `pictures.choices` made.
PICK = """
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("button[data-number]");
  if (!chosen) return;
  for (const button of element.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button === chosen);
  }
  props.value = Number(chosen.dataset.number);
  trigger("click");
});
"""
