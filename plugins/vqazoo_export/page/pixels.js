// A picture file as the numbers a model sees, as vqazoo makes them with Pillow.

const BITS = 22; // of a weight's fixed-point part, as in Pillow's Resample.c (8 bits a channel)
const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, cubic],
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  hamming: [1, hamming],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

// Keys' cubic with a = -0.5, as Pillow has it.
function cubic(x) {
  const a = -0.5, t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

function hamming(x) {
  const t = Math.abs(x) * Math.PI;
  return t >= Math.PI ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(t));
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** The picture of a file, upright and on white: { width, height, data } with 4 bytes a pixel. */
export async function read(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Float32Array (3, H, W) of a picture; `how` is `preprocess` of manifest.json. */
export function pixels(picture, how) {
  const [high, wide] = how.size;
  const [w, h] = resizedTo(picture.width, picture.height, how);
  const floats = how.resized === "floats"; // scaled first, as for DINOv3
  const given = floats ? scaled(picture, how.scale ?? 1 / 255) : picture;
  const image = resize(given, w, h, how.interpolation, floats);
  const left = offset(w, wide, how.margins), top = offset(h, high, how.margins);
  const scale = floats ? 1 : how.scale ?? 1 / 255;
  const fill = [how.mode === "pad" ? how.fill : 0].flat(); // of all channels, or of each
  const out = new Float32Array(3 * high * wide);
  for (let c = 0; c < 3; c++) {
    const mean = Math.fround(how.mean[c]), std = Math.fround(how.std[c]);
    for (let y = 0; y < high; y++) {
      for (let x = 0; x < wide; x++) {
        const u = x - left, v = y - top;
        const inside = u >= 0 && u < w && v >= 0 && v < h;
        const value = inside ? image[4 * (v * w + u) + c] : fill[c % fill.length];
        const centred = Math.fround(Math.fround(value * scale) - mean);
        out[(c * high + y) * wide + x] = Math.fround(centred / std);
      }
    }
  }
  return out;
}

function resizedTo(width, height, how) {
  const two = Array.isArray(how.resize); // sides; one says nothing in modes squash and pad
  const [high, wide] = two ? how.resize : how.size;
  if (how.mode === "centre") return [width, height];
  if (how.mode === "squash") return [wide, high];
  const ratios = [height / high, width / wide];
  if (how.mode === "pad" || two || (high !== wide && !how.resize)) {
    const ratio = how.mode === "pad" ? Math.max(...ratios) : Math.min(...ratios);
    return [Math.max(1, round(width / ratio)), Math.max(1, round(height / ratio))];
  }
  let short = how.resize || high, side = short;
  const less = Math.min(width, height), more = Math.max(width, height);
  if (how.longest && (more / less) * short > how.longest) {
    side = (how.longest * less) / more;
    short = round(side);
    if (less === short) return [width, height];
  }
  if (width <= height) return [short, Math.trunc((side * height) / width)];
  return [Math.trunc((side * width) / height), short];
}

/** Where a length lies in the middle of a frame, by the library that the model comes from. */
function offset(length, frame, margins) {
  if (margins === "transformers") return -Math.floor((length - frame) / 2);
  if (length < frame) return Math.floor((frame - length) / 2);
  return -round((length - frame) / 2);
}

/** Rounds halves to even, as Python does. */
function round(x) {
  const low = Math.floor(x), rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 ? low + 1 : low;
}

/** A picture with each of its bytes times a scale. */
function scaled({ width, height, data }, scale) {
  return { width, height, data: Float32Array.from(data, (value) => value * scale) };
}

/** Bytes or floats (h, w, 4) of a picture in another size, value for value as Pillow's resize. */
function resize({ width, height, data }, w, h, interpolation, floats) {
  if (interpolation === "nearest") return nearest(data, width, height, w, h, floats);
  const across = w === width ? data : pass(data, width, height, w, interpolation, false, floats);
  return h === height ? across : pass(across, w, height, h, interpolation, true, floats);
}

/** One direction of a resize; rows if `down`, else columns. */
function pass(data, width, height, size, interpolation, down, floats) {
  const [support, filter] = FILTERS[interpolation];
  const old = down ? height : width, scale = old / size, stretch = Math.max(1, scale);
  const w = down ? width : size, h = down ? size : height;
  const out = empty(4 * w * h, floats);
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support * stretch + 0.5));
    const end = Math.min(old, Math.trunc(centre + support * stretch + 0.5));
    const weights = shares(first, end, (n) => filter((n - centre + 0.5) * (1 / stretch)));
    const kept = floats ? weights : weights.map(fixed);
    for (let j = 0; j < (down ? width : height); j++) {
      for (let c = 0; c < 3; c++) {
        let sum = floats ? 0 : 2 ** (BITS - 1);
        for (let n = first; n < end; n++) {
          const at = down ? n * width + j : j * width + n;
          sum += data[4 * at + c] * kept[n - first];
        }
        const at = down ? i * w + j : j * w + i;
        out[4 * at + c] = floats ? sum : Math.floor(sum / 2 ** BITS);
      }
    }
  }
  return out;
}

function empty(length, floats) {
  return floats ? new Float32Array(length) : new Uint8ClampedArray(length);
}

/** Weights that sum to 1. */
function shares(first, end, filter) {
  const weights = [];
  for (let n = first; n < end; n++) weights.push(filter(n));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

/** A weight as a whole multiple of 2 ** -BITS. */
function fixed(weight) {
  const multiple = weight * 2 ** BITS;
  return Math.trunc(multiple < 0 ? multiple - 0.5 : multiple + 0.5);
}

function nearest(data, width, height, w, h, floats) {
  const out = empty(4 * w * h, floats);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const u = Math.floor(((x + 0.5) * width) / w), v = Math.floor(((y + 0.5) * height) / h);
      for (let c = 0; c < 3; c++) out[4 * (y * w + x) + c] = data[4 * (v * width + u) + c];
    }
  }
  return out;
}
