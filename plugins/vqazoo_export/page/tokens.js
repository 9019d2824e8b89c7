// Byte-level byte-pair encoding by a tokenizer.json; the counterpart of tokens.py.

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?[\\p{L}]+| ?[\\p{N}]+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const BLANK = "\\p{White_Space}"; // JavaScript's \s has U+FEFF too

/** Blanks as Unicode counts them. */
function blanks(pattern) {
  return pattern
    .replaceAll("[^\\s", `[^${BLANK}`)
    .replaceAll("\\s", BLANK)
    .replaceAll("\\S", "\\P{White_Space}");
}

const SHOWN = (byte) =>
  (byte >= 33 && byte < 127) || (byte >= 161 && byte < 173) || (byte >= 174 && byte < 256);
const LETTER = []; // of each byte
for (let byte = 0, hidden = 0; byte < 256; byte++) {
  LETTER.push(String.fromCodePoint(SHOWN(byte) ? byte : 256 + hidden++));
}
const BYTE = new Map(LETTER.map((letter, byte) => [letter, byte]));

export class BytePairs {
  /** @param said the content of tokenizer.json */
  constructor(said) {
    const { model, normalizer, pre_tokenizer: before } = said;
    const steps = before.pretokenizers ?? [before];
    this.vocabulary = new Map(Object.entries(model.vocab));
    this.rank = new Map(
      model.merges.map((pair, n) => [typeof pair === "string" ? pair : pair.join(" "), n]),
    );
    this.suffix = model.end_of_word_suffix ?? "";
    this.normalisers = normalizer ? (normalizer.normalizers ?? [normalizer]) : [];
    const pattern = steps.length > 1 ? steps[0].pattern.Regex : GPT2;
    this.pattern = new RegExp(blanks(pattern), "gu");
    this.blankFirst = steps.at(-1).add_prefix_space;
    this.special = new Map(said.added_tokens.map((one) => [one.content, one.id]));
    this.text = new Map([...this.vocabulary].map(([piece, id]) => [id, piece]));
  }

  /** Ids of a text, without start and end. */
  encode(text) {
    const ids = [];
    for (const part of this.parts(text)) {
      if (this.special.has(part)) ids.push(this.special.get(part));
      else for (const word of this.words(part)) ids.push(...this.pieces(word));
    }
    return ids;
  }

  /** The text of ids; start, end and padding say nothing. */
  decode(ids) {
    const written = ids.map((id) => this.text.get(id) ?? "");
    let said = written.filter((one) => !this.special.has(one)).join("");
    if (this.suffix) said = said.replaceAll(this.suffix, " ");
    const other = new TextEncoder();
    const bytes = [...said].flatMap((one) => BYTE.get(one) ?? [...other.encode(one)]);
    return new TextDecoder("utf-8", { ignoreBOM: true })
      .decode(new Uint8Array(bytes))
      .replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
  }

  parts(text) {
    const names = [...this.special.keys()].sort((a, b) => b.length - a.length);
    if (!names.length) return [text];
    const escaped = names.map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return text.split(new RegExp(`(${escaped.join("|")})`));
  }

  words(text) {
    for (const step of this.normalisers) {
      if (step.type === "NFC") text = text.normalize("NFC");
      else if (step.type === "Lowercase") text = [...text].map((one) => one.toLowerCase()).join("");
      else text = text.replace(new RegExp(blanks(step.pattern.Regex), "gu"), step.content);
    }
    if (!text) return [];
    if (this.blankFirst && !text.startsWith(" ")) text = ` ${text}`;
    return text.match(this.pattern) ?? [];
  }

  pieces(word) {
    let pieces = [...new TextEncoder().encode(word)].map((byte) => LETTER[byte]);
    pieces[pieces.length - 1] += this.suffix;
    while (pieces.length > 1) {
      let best = Infinity, pair = "";
      for (let n = 0; n + 1 < pieces.length; n++) {
        const name = `${pieces[n]} ${pieces[n + 1]}`, rank = this.rank.get(name) ?? Infinity;
        if (rank < best) [best, pair] = [rank, name];
      }
      if (best === Infinity) break;
      const merged = [];
      for (let n = 0; n < pieces.length; n++) {
        const two = n + 1 < pieces.length && `${pieces[n]} ${pieces[n + 1]}` === pair;
        merged.push(two ? pieces[n] + pieces[++n] : pieces[n]);
      }
      pieces = merged;
    }
    return pieces.map((piece) => this.vocabulary.get(piece));
  }
}
