// A text of the page's language with its {places} filled in.
const say = (text, values) => text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
