// The Universal Sentence Encoder, multilingual v3 (Yang et al. 2020), over packed tokens.
// Included after bert.h, whose Norm and moments it takes.

// numbers: size of a token, width of a branch, branches, rows of the table, its chunks, rows that
// training changed, inner size of the last network, whether it computes in fixed point, and the order
// of each branch's n-grams. arrays: the table's bytes [rows, size], each row's chunk's scale and least
// value [chunks], the place of each row among those changed, from 1, or 0 [rows, int32], what training
// added [changed, size], the steps of the products' inputs where in fixed point; kernel and bias of the
// projection, gamma and beta; kernel and bias of each branch's two convolutions [order · width, width];
// gamma, beta, kernel and bias of the sum; and the six kernels of the last network.
struct Universal : Encoder {
  int size, width, rows, chunks, inner, features;
  std::vector<int> orders;
  std::vector<uint8_t> table;
  std::vector<int32_t> places;
  std::vector<float> scale, least, changes, gamma, beta, bias;
  std::vector<Packed> products;  // in the order of the arrays
  std::vector<Norm> norms;
  static constexpr float EPSILON = 1e-12f;

  Universal(const int* numbers, const float* const* arrays)
      : size(numbers[0]), width(numbers[1]), rows(numbers[3]), chunks(numbers[4]), inner(numbers[6]),
        features(size + numbers[2] * width), orders(numbers + 8, numbers + 8 + numbers[2]) {
    auto bytes = reinterpret_cast<const uint8_t*>(arrays[0]);
    table.assign(bytes, bytes + size_t(rows) * size);
    scale.assign(arrays[1], arrays[1] + chunks);
    least.assign(arrays[2], arrays[2] + chunks);
    auto numbered = reinterpret_cast<const int32_t*>(arrays[3]);
    places.assign(numbered, numbered + rows);
    changes.assign(arrays[4], arrays[4] + size_t(numbers[5]) * size);
    const float *step = arrays[5], *const* a = arrays + 6;
    std::vector<float> none(std::max(features, size), 0.0f);
    auto add_product = [&](const float* kernel, const float* offset, int depth, int columns) {
      products.emplace_back(kernel, offset, depth, columns, numbers[7] ? *step++ : 0.0f);
    };
    int across = int(orders.size()) * width;
    add_product(a[0], a[1], size, across);
    norms.emplace_back(a[2], a[3], across);
    a += 4;
    for (int order : orders)
      for (int number = 0; number < 2; ++number, a += 2) add_product(a[0], a[1], order * width, width);
    gamma.assign(a[0], a[0] + features);
    beta.assign(a[1], a[1] + features);
    bias.assign(a[3], a[3] + size);
    add_product(a[2], none.data(), features, size);
    const int depths[] = {size, size, inner, inner, inner, size};
    const int columns[] = {inner, inner, inner, size, size, size};
    for (int dense = 0; dense < 6; ++dense)
      add_product(a[4 + dense], none.data(), depths[dense], columns[dense]);
  }

  // Where a token's sentence begins and ends, counted in tokens.
  struct Span {
    int begin, end;
  };

  void encode(const Sentences& sentences, float* out, float* seen) const override {
    int tokens = sentences.tokens();
    std::vector<int32_t> ids;
    std::vector<Span> spans;
    for (int s = 0, at = 0; s < sentences.count; at += sentences.lengths[s++])
      for (int t = 0; t < sentences.lengths[s]; ++t) {
        ids.push_back(sentences.id(s, t));
        spans.push_back({at, at + sentences.lengths[s]});
      }
    std::vector<float> all_features(size_t(tokens) * features), first(size_t(tokens) * width);
    std::vector<float> projected = project(ids, all_features.data(), seen);
    int across = int(orders.size()) * width;
    for (size_t branch = 0; branch < orders.size(); ++branch) {
      const Packed* two = products.data() + 1 + 2 * branch;
      float* noted = seen ? seen + 1 + 2 * branch : nullptr;
      Rows begin{projected.data() + branch * width, size_t(across)}, middle{first.data(), size_t(width)};
      convolve(begin, two[0], orders[branch], spans, first.data(), width, noted);
      convolve(middle, two[1], orders[branch], spans, all_features.data() + size + branch * width,
               features, noted ? noted + 1 : nullptr);
    }
    std::vector<float> sums(size_t(sentences.count) * features);
    const float* at = all_features.data();
    for (int s = 0; s < sentences.count; at += size_t(features) * sentences.lengths[s++])
      sum(at, sentences.lengths[s], sums.data() + size_t(s) * features);
    finish(sentences, sums.data(), out, seen ? seen + 1 + 2 * orders.size() : nullptr);
  }

  // Ids [tokens] → vectors into the first columns of their features; returns the normalised projection
  // [tokens, branches · width]. It depends on the id alone, so each distinct one is projected once.
  std::vector<float> project(const std::vector<int32_t>& ids, float* to, float* seen) const {
    std::vector<int32_t> distinct(ids);
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    size_t across = orders.size() * width;
    std::vector<float> vectors(distinct.size() * size), wide(distinct.size() * across);
    for (size_t at = 0; at < distinct.size(); ++at) look_up(distinct[at], vectors.data() + at * size);
    Rows input{vectors.data(), size_t(size)};
    note(seen, input, int(distinct.size()), size);
    product(input, products[0], int(distinct.size()), wide.data(), across);
    for (size_t at = 0; at < distinct.size(); ++at) norms[0].apply(wide.data() + at * across, EPSILON);
    std::vector<float> found(ids.size() * across);
    for (size_t token = 0; token < ids.size(); ++token) {
      size_t at = std::lower_bound(distinct.begin(), distinct.end(), ids[token]) - distinct.begin();
      std::copy_n(vectors.data() + at * size, size, to + token * features);
      std::copy_n(wide.data() + at * across, across, found.data() + token * across);
    }
    return found;
  }

  void look_up(int32_t id, float* to) const {
    int row = std::max(id - 1, 0);
    float by = scale[row % chunks], from = least[row % chunks];
    const uint8_t* bytes = table.data() + size_t(row) * size;
    // Rounded after each step, as TensorFlow does it, and never fused.
    for (int i = 0; i < size; i += LANES) {
      float exact[LANES];
      for (int lane = 0; lane < LANES; ++lane) exact[lane] = float(bytes[i + lane]);
      store(to + i, add(mul(load(exact), all(by)), all(from)));
    }
    if (!places[row]) return;
    const float* change = changes.data() + size_t(places[row] - 1) * size;
    for (int i = 0; i < size; i += LANES) store(to + i, add(load(to + i), load(change + i)));
  }

  // x [tokens, width] → x + relu(convolution over `order` tokens of the same sentence).
  void convolve(Rows x, const Packed& packed, int order, const std::vector<Span>& spans, float* out,
                size_t stride, float* seen) const {
    int left = (order - 1) / 2, tokens = int(spans.size());
    size_t depth = size_t(order) * width;
    std::vector<float> windows(depth * std::min(tokens, ROW_BLOCK));
    for (int top = 0; top < tokens; top += ROW_BLOCK) {
      int count = std::min(ROW_BLOCK, tokens - top);
      float* to = windows.data();
      for (int token = top; token < top + count; ++token)
        for (int near = token - left; near < token - left + order; ++near, to += width) {
          bool inside = near >= spans[token].begin && near < spans[token].end;
          if (inside) std::copy_n(x.at(near), width, to);
          else std::fill_n(to, width, 0.0f);
        }
      note(seen, {windows.data(), depth}, count, int(depth));
      product({windows.data(), depth}, packed, count, out + top * stride, stride, RELU_ADD,
              {x.at(top), x.stride});
    }
  }

  // Tokens [length, features] → the sum of what layer normalisation makes of them, over √length.
  void sum(const float* tokens, int length, float* out) const {
    std::fill_n(out, features, 0.0f);
    for (int t = 0; t < length; ++t, tokens += features) {
      auto [mean, by] = moments(tokens, features, EPSILON);
      for (int i = 0; i < features; i += LANES)
        store(out + i, fma(sub(load(tokens + i), mean), by, load(out + i)));
    }
    Floats root = all(std::sqrt(float(length))), by = all(1.0f / std::sqrt(float(length)));
    for (int i = 0; i < features; i += LANES)
      store(out + i, fma(mul(load(out + i), by), load(gamma.data() + i), mul(load(beta.data() + i), root)));
  }

  // Sums [count, features] → vectors [count, size], through the projection and the residual network.
  void finish(const Sentences& sentences, const float* sums, float* out, float* seen) const {
    int count = sentences.count;
    const Packed* dense = products.data() + 1 + 2 * orders.size();
    size_t wide = size, narrow = inner;
    std::vector<float> summed(count * wide), zero(count * narrow), one(count * narrow), two(count * wide),
        skip(count * std::max(wide, narrow));
    auto through = [&](int number, const float* x, float* to, Finish finish = PLAIN,
                       const float* more = nullptr) {
      const Packed& packed = dense[number];
      Rows input{x, size_t(packed.depth)};
      size_t stride = packed.columns;
      note(seen ? seen + number : nullptr, input, count, packed.depth);
      product(input, packed, count, to, stride, finish, {more, stride});
    };
    through(0, sums, summed.data());
    for (int s = 0; s < count; ++s) {
      Floats root = all(std::sqrt(float(sentences.lengths[s])));
      float* x = summed.data() + s * wide;
      for (int i = 0; i < size; i += LANES)
        store(x + i, fma(load(bias.data() + i), root, load(x + i)));
    }
    through(1, summed.data(), zero.data(), RELU);
    through(2, summed.data(), skip.data());
    through(3, zero.data(), one.data(), ADD_RELU, skip.data());
    through(4, one.data(), two.data(), RELU);
    through(5, one.data(), skip.data());
    through(6, two.data(), out, ADD, skip.data());
    for (size_t i = 0; i < count * wide; i += LANES) store(out + i, tangent(load(out + i)));
  }
};
