// BERT (Devlin et al. 2019), and the Transformer that normalises before each part and not behind it
// (Xiong et al. 2020), over packed tokens: sentences lie one behind the other, without padding.
// Included after product.h.

// Of numbers x [size], size a multiple of 16: their mean, and 1 over their deviation.
struct Moments {
  Floats mean, by;
};

INLINE Moments moments(const float* x, int size, float epsilon) {
  Total sum, squares;
  for (int i = 0; i < size; i += 16)
    for (int p = 0; p < 16 / LANES; ++p) sum.sums[p] = add(sum.sums[p], load(x + i + p * LANES));
  Floats mean = all(sum.value() / float(size));
  for (int i = 0; i < size; i += 16)
    for (int p = 0; p < 16 / LANES; ++p) {
      Floats apart = sub(load(x + i + p * LANES), mean);
      squares.sums[p] = fma(apart, apart, squares.sums[p]);
    }
  return {mean, all(1.0f / std::sqrt(squares.value() / float(size) + epsilon))};
}

struct Norm {
  std::vector<float> scale, offset;

  Norm(const float* gamma, const float* beta, int size)
      : scale(gamma, gamma + size), offset(beta, beta + size) {}

  // x [size] in place; size is a multiple of 16.
  void apply(float* x, float epsilon) const {
    int size = int(scale.size());
    auto [mean, by] = moments(x, size, epsilon);
    for (int i = 0; i < size; i += LANES) {
      Floats value = mul(sub(load(x + i), mean), by);
      store(x + i, fma(value, load(scale.data() + i), load(offset.data() + i)));
    }
  }
};

constexpr int PRODUCTS = 4;  // of a layer

struct BertLayer {
  Packed qkv, attended;
  Norm first;
  Packed wide, narrow;
  Norm second;
};

// One chain of multiply-adds waits for itself, four cycles a step; several side by side keep the CPU busy.
constexpr int ATTEND_ROWS = 4;

// Products of ATTEND_ROWS queries from token t on with all keys [width, padded] → [rows, padded]. Rows
// that are too many repeat the last one, and what they give is not used.
static void agree(Rows qkv, int t, int rows, int q, int width, const float* keys, int padded,
                  float* to) {
  const float* queries[ATTEND_ROWS];
  for (int r = 0; r < ATTEND_ROWS; ++r) queries[r] = qkv.at(t + std::min(r, rows - 1), q);
  for (int j = 0; j < padded; j += LANES) {
    Floats sums[ATTEND_ROWS];
    for (Floats& sum : sums) sum = all(0.0f);
    for (int i = 0; i < width; ++i) {
      Floats key = load(keys + i * padded + j);
      for (int r = 0; r < ATTEND_ROWS; ++r) sums[r] = fma(all(queries[r][i]), key, sums[r]);
    }
    for (int r = 0; r < ATTEND_ROWS; ++r) store(to + r * padded + j, sums[r]);
  }
}

// The values from column v on [length, width], each by its weight, times `by` → out [width].
static void collect(Rows qkv, int v, int width, const float* weights, int length, float by,
                    float* out) {
  constexpr int AT_ONCE = 16 / LANES;  // width is a multiple of 16
  for (int i = 0; i < width; i += 16) {
    Floats sums[AT_ONCE];
    for (Floats& sum : sums) sum = all(0.0f);
    for (int j = 0; j < length; ++j)
      for (int p = 0; p < AT_ONCE; ++p)
        sums[p] = fma(all(weights[j]), load(qkv.at(j, v + i + p * LANES)), sums[p]);
    for (int p = 0; p < AT_ONCE; ++p) store(out + i + p * LANES, mul(sums[p], all(by)));
  }
}

// One sentence's attention, head by head: qkv [length, 3 size] → out [length, size].
// `room` holds (size / heads + ATTEND_ROWS) · (length + 15) floats.
static void attend(Rows qkv, int length, int size, int heads, float* out, float* room) {
  int width = size / heads, padded = (length + 15) / 16 * 16;
  float *keys = room, *weights = room + width * padded;
  float scale = 1.0f / std::sqrt(float(width));
  for (int head = 0; head < heads; ++head) {
    const int q = head * width, k = q + size, v = k + size;
    for (int i = 0; i < width; ++i) {
      for (int t = 0; t < length; ++t) keys[i * padded + t] = *qkv.at(t, k + i) * scale;
      std::fill(keys + i * padded + length, keys + (i + 1) * padded, 0.0f);
    }
    for (int t = 0; t < length; t += ATTEND_ROWS) {
      int rows = std::min(ATTEND_ROWS, length - t);
      agree(qkv, t, rows, q, width, keys, padded, weights);
      for (int r = 0; r < rows; ++r) {
        float* row = weights + r * padded;
        Floats greatest = all(*std::max_element(row, row + length));
        for (int j = 0; j < padded; j += LANES)
          store(row + j, exponential(sub(load(row + j), greatest)));
        float total = 0.0f;
        for (int j = 0; j < length; ++j) total += row[j];
        collect(qkv, v, width, row, length, 1.0f / total, out + size_t(t + r) * size + head * width);
      }
    }
  }
}

// An encoder up to its pooling. numbers: size, heads, layers, inner size, vocabulary, positions, pooling,
// whether it computes in fixed point, whether it normalises before each part.
// arrays: epsilon, words, positions, gamma, beta (of the embeddings, or of what comes out where it
// normalises before), the steps of the products' inputs [layers, 4] where in fixed point; and for each
// layer: kernel and bias of q, k and v together, of the output, gamma and beta of the attention, kernel
// and bias of the wide product, of the narrow one, gamma and beta of both. Kernels are
// [inputs, outputs]. size / heads is a multiple of 16.
struct Bert : Encoder {
  int size, heads, inner, vocabulary, longest, pooling;
  bool before;
  float epsilon;
  std::vector<float> words, places;
  std::vector<BertLayer> layers;
  Norm norm;

  Bert(const int* numbers, const float* const* arrays)
      : size(numbers[0]), heads(numbers[1]), inner(numbers[3]), vocabulary(numbers[4]),
        longest(numbers[5]), pooling(numbers[6]), before(numbers[8]), epsilon(*arrays[0]),
        words(arrays[1], arrays[1] + size_t(vocabulary) * size),
        places(arrays[2], arrays[2] + size_t(longest) * size), norm(arrays[3], arrays[4], size) {
    const float* const* a = arrays + 6;
    std::vector<float> steps(PRODUCTS * numbers[2], 0.0f);
    if (numbers[7]) std::copy_n(arrays[5], steps.size(), steps.begin());
    const float* step = steps.data();
    for (int layer = 0; layer < numbers[2]; ++layer, a += 12, step += PRODUCTS)
      layers.push_back({Packed(a[0], a[1], size, 3 * size, step[0]),
                        Packed(a[2], a[3], size, size, step[1]), Norm(a[4], a[5], size),
                        Packed(a[6], a[7], size, inner, step[2]),
                        Packed(a[8], a[9], inner, size, step[3]), Norm(a[10], a[11], size)});
  }

  void encode(const Sentences& sentences, float* out, float* seen) const override {
    int tokens = sentences.tokens(), rows = std::min(tokens, ROW_BLOCK);
    int most_tokens = sentences.longest();
    size_t across = layers.empty() ? 0 : layers[0].qkv.padded(), wide = across ? layers[0].wide.padded() : 0;
    std::vector<float> x(size_t(tokens) * size), qkv(tokens * across), attended(x.size()),
        inside(rows * wide), narrow(size_t(rows) * size),
        room(size_t(size / heads + ATTEND_ROWS) * (most_tokens + 15));
    embed(sentences, x.data());
    for (const BertLayer& layer : layers) {
      float* input = x.data();
      if (before) {  // what has attended goes there only when this has been read
        input = attended.data();
        std::copy(x.begin(), x.end(), input);
        normalize(layer.first, input, tokens);
      }
      note(seen, {input, size_t(size)}, tokens, size);
      product({input, size_t(size)}, layer.qkv, tokens, qkv.data(), across);
      for (int s = 0, at = 0; s < sentences.count; at += sentences.lengths[s++])
        attend({qkv.data() + at * across, across}, sentences.lengths[s], size, heads,
               attended.data() + size_t(at) * size, room.data());
      for (int top = 0; top < tokens; top += ROW_BLOCK)
        feed(layer, x.data() + size_t(top) * size, attended.data() + size_t(top) * size,
             std::min(ROW_BLOCK, tokens - top), inside.data(), wide, narrow.data(), seen);
      if (seen) seen += PRODUCTS;
    }
    if (before) normalize(norm, x.data(), tokens);
    pool(sentences, x.data(), out);
  }

  void normalize(const Norm& by, float* x, int rows) const {
    for (int r = 0; r < rows; ++r) by.apply(x + size_t(r) * size, epsilon);
  }

  void embed(const Sentences& sentences, float* x) const {
    for (int s = 0; s < sentences.count; ++s)
      for (int t = 0; t < sentences.lengths[s]; ++t, x += size) {
        const float* word = words.data() + size_t(sentences.id(s, t)) * size;
        const float* place = places.data() + size_t(t) * size;
        for (int i = 0; i < size; i += LANES) store(x + i, add(load(word + i), load(place + i)));
        if (!before) norm.apply(x, epsilon);
      }
  }

  // What a layer does to tokens x [rows, size] one by one, after they have attended. `attended` is
  // written over, where the next product needs room for its input.
  void feed(const BertLayer& layer, float* x, float* attended, int rows, float* inside, size_t wide,
            float* narrow, float* seen) const {
    size_t stride = size;
    note(seen ? seen + 1 : nullptr, {attended, stride}, rows, size);
    product({attended, stride}, layer.attended, rows, narrow, stride, ADD, {x, stride});
    std::copy(narrow, narrow + rows * stride, x);
    float* input = x;
    if (before) {
      input = attended;
      std::copy(narrow, narrow + rows * stride, input);
    }
    normalize(before ? layer.second : layer.first, input, rows);
    note(seen ? seen + 2 : nullptr, {input, stride}, rows, size);
    product({input, stride}, layer.wide, rows, inside, wide, before ? EXACT_GELU : GELU);
    note(seen ? seen + 3 : nullptr, {inside, wide}, rows, inner);
    product({inside, wide}, layer.narrow, rows, narrow, stride, ADD, {x, stride});
    std::copy(narrow, narrow + rows * stride, x);
    if (!before) normalize(layer.second, x, rows);
  }

  void pool(const Sentences& sentences, const float* x, float* out) const {
    for (int s = 0; s < sentences.count; x += size_t(size) * sentences.lengths[s++]) {
      int length = pooling == ONE ? 1 : sentences.lengths[s];
      if (pooling != MAX) {
        pool_columns(x, length, out, add);
        for (int i = 0; i < size; i += LANES)
          store(out + i, div(load(out + i), all(float(length))));
        out += size;
      }
      if (pooling & MAX) {
        pool_columns(x, length, out, most);
        out += size;
      }
    }
  }

  template <typename Join>
  void pool_columns(const float* x, int length, float* out, Join join) const {
    for (int i = 0; i < size; i += LANES) {
      Floats value = load(x + i);
      for (int t = 1; t < length; ++t) value = join(value, load(x + size_t(t) * size + i));
      store(out + i, value);
    }
  }
};
