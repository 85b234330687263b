// Draws every chart from the JSON beside it, in the colours of the light or the dark page.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const locale = document.documentElement.lang;
  const config = { displayModeBar: false, responsive: true, locale };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function recolour(trace, isDark) {
    if (!isDark) return trace;
    const swap = (c) => DARK[c] || c;
    const marker = trace.marker || {};
    const inside = trace.insidetextfont || {};
    const found = Array.isArray(marker.color) ? marker.color.map(swap) : swap(marker.color);
    return {
      ...trace,
      marker: { ...marker, color: found },
      line: trace.line && { ...trace.line, color: swap(trace.line.color) },
      insidetextfont: inside.color && { ...inside, color: colour("--page") },
    };
  }

  function relayout(layout) {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--edge"), tickcolor: colour("--edge") };
    const themed = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      font: { ...layout.font, color: colour("--soft") },
      hoverlabel: {
        ...layout.hoverlabel,
        bgcolor: colour("--page"),
        bordercolor: colour("--edge"),
        font: { ...(layout.hoverlabel || {}).font, color: colour("--ink") },
      },
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) themed[key] = { ...layout[key], ...axis };
    }
    return themed;
  }

  function draw(isDark) {
    for (const source of document.querySelectorAll("script[data-chart]")) {
      const figure = JSON.parse(source.textContent);
      const data = figure.data.map((trace) => recolour(trace, isDark));
      Plotly.react(source.dataset.chart, data, relayout(figure.layout), config);
    }
  }

  if (TEXTS.calendar) {
    Plotly.register({ moduleType: "locale", name: locale, dictionary: {}, format: TEXTS.calendar });
  }
  draw(dark.matches);
  dark.addEventListener("change", () => draw(dark.matches));
  window.addEventListener("beforeprint", () => draw(false));
  window.addEventListener("afterprint", () => draw(dark.matches));
})();
