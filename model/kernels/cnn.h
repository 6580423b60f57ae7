// Convolutions of several widths side by side (Kim 2014), over packed tokens. Included after product.h.
//
// What a token adds to a window depends on the token and its place there alone. So it is looked up: a
// convolution is a sum of a row for each of its places, and all products are made once for a token.

// numbers: vocabulary, embedding size, filters, widths, pooling, whether the
// products of the whole vocabulary are made at once (else those of a call's tokens), and each width.
// arrays: embeddings [vocabulary, size], and of each width kernel [width · size, filters] and bias.
struct Cnn : Encoder {
  int vocabulary, size, filters, pooling, across;  // `across`: filters, up to a multiple of 16
  bool folded;
  std::vector<int> widths;
  std::vector<float> embeddings, biases, table;  // biases [widths, across], table [vocabulary, row]
  std::vector<Packed> kernel;                    // one: [size, places of all widths · across]

  Cnn(const int* numbers, const float* const* arrays)
      : vocabulary(numbers[0]), size(numbers[1]), filters(numbers[2]), pooling(numbers[4]),
        across((filters + 15) / 16 * 16), folded(numbers[5]),
        widths(numbers + 6, numbers + 6 + numbers[3]),
        embeddings(arrays[0], arrays[0] + size_t(vocabulary) * size),
        biases(widths.size() * across, 0.0f) {
    int columns = std::accumulate(widths.begin(), widths.end(), 0) * across, at = 0;
    std::vector<float> matrix(size_t(size) * columns, 0.0f), none(columns, 0.0f);
    for (size_t w = 0; w < widths.size(); ++w) {
      const float* from = arrays[1 + 2 * w];
      std::copy_n(arrays[2 + 2 * w], filters, biases.data() + w * across);
      for (int place = 0; place < widths[w]; ++place, at += across)
        for (int i = 0; i < size; ++i, from += filters)
          std::copy_n(from, filters, matrix.data() + size_t(i) * columns + at);
    }
    kernel.emplace_back(matrix.data(), none.data(), size, columns);
    if (!folded) return;
    table.resize(size_t(vocabulary) * row());
    product({embeddings.data(), size_t(size)}, kernel[0], vocabulary, table.data(), row());
  }

  size_t row() const { return kernel[0].padded(); }

  void encode(const Sentences& sentences, float* out, float*) const override {
    std::vector<const float*> rows;  // of each token
    std::vector<float> made;
    for (int s = 0; s < sentences.count; ++s)
      for (int t = 0; folded && t < sentences.lengths[s]; ++t)
        rows.push_back(table.data() + sentences.id(s, t) * row());
    if (!folded) rows = multiply(sentences, made);
    std::vector<float> sums(biases.size()), greatest(biases.size());
    const float* const* at = rows.data();
    for (int s = 0; s < sentences.count; at += sentences.lengths[s++]) {
      convolve(at, sentences.lengths[s], sums.data(), greatest.data());
      if (pooling & MEAN) out = put(sums.data(), float(sentences.lengths[s]), out);
      if (pooling & MAX) out = put(greatest.data(), 1.0f, out);
    }
  }

  // The products of each distinct token of some sentences into `made`; where each token's are.
  std::vector<const float*> multiply(const Sentences& sentences, std::vector<float>& made) const {
    std::vector<int32_t> ids;
    for (int s = 0; s < sentences.count; ++s)
      for (int t = 0; t < sentences.lengths[s]; ++t) ids.push_back(sentences.id(s, t));
    std::vector<int32_t> distinct(ids);
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    std::vector<float> vectors;
    for (int32_t id : distinct)
      vectors.insert(vectors.end(), embeddings.begin() + size_t(id) * size,
                     embeddings.begin() + size_t(id + 1) * size);
    made.resize(distinct.size() * row());
    product({vectors.data(), size_t(size)}, kernel[0], int(distinct.size()), made.data(), row());
    std::vector<const float*> rows;
    for (int32_t id : ids)
      rows.push_back(made.data() +
                     (std::lower_bound(distinct.begin(), distinct.end(), id) - distinct.begin()) * row());
    return rows;
  }

  // One sentence's sums and greatest values [widths, across] over its tokens.
  void convolve(const float* const* rows, int length, float* sums, float* greatest) const {
    std::fill_n(sums, biases.size(), 0.0f);
    std::fill_n(greatest, biases.size(), 0.0f);  // none is smaller after relu
    for (int t = 0; t < length; ++t)
      for (size_t w = 0, begin = 0; w < widths.size(); begin += widths[w++] * across) {
        int first = t - (widths[w] - 1) / 2;
        int from = std::max(0, -first), to = std::min(widths[w], length - first);
        for (int i = 0; i < across; i += LANES) {
          size_t at = w * across + i;
          Floats value = load(biases.data() + at);
          for (int place = from; place < to; ++place)
            value = add(value, load(rows[first + place] + begin + place * across + i));
          value = most(value, all(0.0f));
          store(sums + at, add(load(sums + at), value));
          store(greatest + at, most(load(greatest + at), value));
        }
      }
  }

  // Values [widths, across], over `by`, without the added filters; where the next ones go.
  float* put(const float* values, float by, float* out) const {
    for (size_t w = 0; w < widths.size(); ++w)
      for (int i = 0; i < filters; ++i) *out++ = values[w * across + i] / by;
    return out;
  }
};
