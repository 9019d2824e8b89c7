// A picture file as the numbers a model sees, as vqazoo makes them with Pillow.

const BITS = 22; // of a weight's fixed-point part, as in Pillow's Resample.c (8 bits a channel)
const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, cubic],
};

// Keys' cubic with a = -0.5, as Pillow has it.
function cubic(x) {
  const a = -0.5, t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
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
  const image = resize(picture, w, h, how.interpolation);
  const W = Math.max(w, wide), H = Math.max(h, high);
  const x0 = Math.floor((W - w) / 2), y0 = Math.floor((H - h) / 2); // where it lies on the canvas
  const left = round((W - wide) / 2), top = round((H - high) / 2);
  const fill = how.mode === "pad" ? how.fill : 0;
  const out = new Float32Array(3 * high * wide);
  for (let c = 0; c < 3; c++) {
    const mean = Math.fround(how.mean[c]), std = Math.fround(how.std[c]);
    for (let y = 0; y < high; y++) {
      for (let x = 0; x < wide; x++) {
        const u = x + left - x0, v = y + top - y0;
        const inside = u >= 0 && u < w && v >= 0 && v < h;
        const value = inside ? image[4 * (v * w + u) + c] : fill;
        const centred = Math.fround(Math.fround(value / 255) - mean);
        out[(c * high + y) * wide + x] = Math.fround(centred / std);
      }
    }
  }
  return out;
}

function resizedTo(width, height, how) {
  const [high, wide] = how.size;
  if (how.mode === "squash") return [wide, high];
  const ratios = [height / high, width / wide];
  if (how.mode === "pad" || (high !== wide && !how.resize)) {
    const ratio = how.mode === "pad" ? Math.max(...ratios) : Math.min(...ratios);
    return [Math.max(1, round(width / ratio)), Math.max(1, round(height / ratio))];
  }
  const short = how.resize || high;
  if (width <= height) return [short, Math.trunc((short * height) / width)];
  return [Math.trunc((short * width) / height), short];
}

/** Rounds halves to even, as Python does. */
function round(x) {
  const low = Math.floor(x), rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 ? low + 1 : low;
}

/** Bytes (h, w, 4) of a picture in another size, byte for byte as Pillow's resize. */
function resize({ width, height, data }, w, h, interpolation) {
  if (interpolation === "nearest") return nearest(data, width, height, w, h);
  const across = w === width ? data : pass(data, width, height, w, interpolation, false);
  return h === height ? across : pass(across, w, height, h, interpolation, true);
}

/** One direction of a resize; rows if `down`, else columns. */
function pass(data, width, height, size, interpolation, down) {
  const [support, filter] = FILTERS[interpolation];
  const old = down ? height : width, scale = old / size, stretch = Math.max(1, scale);
  const w = down ? width : size, h = down ? size : height;
  const out = new Uint8ClampedArray(4 * w * h);
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support * stretch + 0.5));
    const end = Math.min(old, Math.trunc(centre + support * stretch + 0.5));
    const weights = fixed(first, end, (n) => filter((n - centre + 0.5) * (1 / stretch)));
    for (let j = 0; j < (down ? width : height); j++) {
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (BITS - 1);
        for (let n = first; n < end; n++) {
          const at = down ? n * width + j : j * width + n;
          sum += data[4 * at + c] * weights[n - first];
        }
        const at = down ? i * w + j : j * w + i;
        out[4 * at + c] = Math.floor(sum / 2 ** BITS);
      }
    }
  }
  return out;
}

/** Weights that sum to 1, as whole multiples of 2 ** -BITS. */
function fixed(first, end, filter) {
  const weights = [];
  for (let n = first; n < end; n++) weights.push(filter(n));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((one) => {
    const scaled = (one / total) * 2 ** BITS;
    return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  });
}

function nearest(data, width, height, w, h) {
  const out = new Uint8ClampedArray(4 * w * h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const u = Math.floor(((x + 0.5) * width) / w), v = Math.floor(((y + 0.5) * height) / h);
      for (let c = 0; c < 3; c++) out[4 * (y * w + x) + c] = data[4 * (v * width + u) + c];
    }
  }
  return out;
}
