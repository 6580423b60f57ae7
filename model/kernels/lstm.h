// Stacked bidirectional LSTMs (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005) over
// sentences of different lengths. Included after lstm_step.h.

constexpr int GROUP = 96;  // sentences at a time: their states stay in the second cache

// numbers: vocabulary, embedding size, layers, pooling, whether to fold, whether it computes in fixed
// point, and the units of each layer.
// arrays: embeddings, and for each layer kernel, recurrent kernel and bias, forward and backward.
struct Lstm : Encoder {
  struct Layer {
    Direction ahead, back;
    int width() const { return ahead.padded() + back.padded(); }
  };

  int vocabulary, size, pooling;
  float range = 1e-30f;  // the greatest size of a number in the embeddings
  std::vector<float> embeddings;
  std::vector<Layer> layers;

  Lstm(const int* numbers, const float* const* arrays)
      : vocabulary(numbers[0]), size(numbers[1]), pooling(numbers[3]),
        embeddings(arrays[0], arrays[0] + size_t(vocabulary) * size) {
    const float* const* a = arrays + 1;
    std::vector<int> places(size);
    std::iota(places.begin(), places.end(), 0);
    int width = size;
    for (int layer = 0; layer < numbers[2]; ++layer, a += 6) {
      int units = numbers[6 + layer];
      layers.push_back({Direction(a[0], a[1], a[2], units, places, width),
                        Direction(a[3], a[4], a[5], units, places, width)});
      width = layers.back().width();
      places.resize(2 * units);
      for (int unit = 0; unit < units; ++unit) {
        places[unit] = unit;
        places[units + unit] = layers.back().ahead.padded() + unit;
      }
    }
    if (numbers[4]) {
      layers[0].ahead.fold(embeddings);
      layers[0].back.fold(embeddings);
    }
    for (float value : embeddings) range = std::max(range, std::fabs(value));
    for (Layer& layer : layers)
      for (Direction* direction : {&layer.ahead, &layer.back})
        if (numbers[5]) direction->fix(&layer == &layers[0] ? range : 1.0f);
  }

  int dimensions() const {
    int both = 2 * layers.back().ahead.units;
    return pooling == (MEAN | MAX) ? 2 * both : both;
  }

  void encode(const Sentences& sentences, float* out, float*) const override {
    std::vector<int> order(sentences.count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return sentences.lengths[a] > sentences.lengths[b]; });
    for (int from = 0; from < sentences.count; from += GROUP)
      encode_group(sentences, order.data() + from, std::min(GROUP, sentences.count - from), out);
  }

  void encode_group(const Sentences& sentences, const int* order, int count, float* out) const {
    std::vector<int> lengths(count), starts(count + 1);
    for (int r = 0; r < count; ++r) {
      lengths[r] = sentences.lengths[order[r]];
      starts[r + 1] = starts[r] + lengths[r];
    }
    std::vector<float> inputs, states, last;
    int below = size;
    bool folded = !layers[0].ahead.table.empty();
    if (!folded) {
      inputs.resize(size_t(starts[count]) * size);
      for (int r = 0; r < count; ++r)
        for (int t = 0; t < lengths[r]; ++t) {
          const float* row = embeddings.data() + size_t(sentences.id(order[r], t)) * size;
          std::copy(row, row + size, inputs.data() + size_t(starts[r] + t) * size);
        }
    }
    std::vector<int> ids(starts[count]);
    for (int r = 0; r < count; ++r)
      for (int t = 0; t < lengths[r]; ++t) ids[starts[r] + t] = sentences.id(order[r], t);
    std::vector<int16_t> whole;
    for (const Layer& layer : layers) {
      bool top = &layer == &layers.back();
      size_t width = layer.width();
      states.assign(top && pooling == ONE ? 0 : starts[count] * width, 0.0f);
      last.assign(count * width, 0.0f);
      if (!layer.ahead.whole.empty() && !inputs.empty())
        whole = in_steps(inputs, below, layer.ahead.inputs_even, &layer == &layers[0] ? range : 1.0f);
      int side = 0;
      for (const Direction* direction : {&layer.ahead, &layer.back}) {
        size_t column = side ? layer.ahead.padded() : 0;
        run(*direction, side, lengths, starts, ids, inputs.data(), below, whole.data(),
            states.empty() ? nullptr : states.data() + column, last.data() + column, width);
        ++side;
      }
      inputs.swap(states);
      below = int(width);
    }
    for (int r = 0; r < count; ++r)
      pool(pooling == ONE ? last.data() + size_t(r) * below
                           : inputs.data() + size_t(starts[r]) * below,
           pooling == ONE ? 1 : lengths[r], below, out + size_t(order[r]) * dimensions());
  }

  // Rows of inputs, at most `range` in size, in fixed point; each filled up to an even number.
  static std::vector<int16_t> in_steps(const std::vector<float>& inputs, int width, int even,
                                       float range) {
    size_t rows = inputs.size() / width;
    std::vector<int16_t> whole(rows * even, 0);
    for (size_t row = 0; row < rows; ++row)
      for (int i = 0; i < width; i += LANES) {
        float part[LANES] = {0};
        int16_t steps[LANES];
        int count = std::min(LANES, width - i);
        std::copy_n(inputs.data() + row * width + i, count, part);
        store_steps(steps, load(part), all(MOST_STEPS / range));
        std::copy_n(steps, count, whole.data() + row * even + i);
      }
    return whole;
  }

  // One direction over all steps. Writes states [tokens, width] where asked, and last [rows, width].
  static void run(const Direction& direction, int side, const std::vector<int>& lengths,
                  const std::vector<int>& starts, const std::vector<int>& ids, const float* inputs,
                  int below, const int16_t* whole, float* states, float* last, size_t width) {
    int active = int(lengths.size());
    size_t padded = direction.padded(), row = size_t(direction.blocks) * BLOCK;
    bool folded = !direction.table.empty();
    std::vector<float> state(active * padded), next(active * padded), memory(active * padded);
    bool fixed = !direction.whole.empty();
    std::vector<int16_t> state_whole(fixed ? active * padded : 0), next_whole(state_whole.size());
    std::vector<StepRow> rows(active);
    for (int t = 0; t < lengths[0]; ++t) {
      for (int r = 0; r < active; ++r) {
        size_t token = starts[r] + (side ? lengths[r] - 1 - t : t);
        rows[r] = {folded ? direction.table.data() + ids[token] * row : direction.bias.data(),
                   folded ? nullptr : inputs + token * below,
                   fixed && !folded ? whole + token * direction.inputs_even : nullptr,
                   states ? states + token * width : nullptr};
      }
      for (int b = 0; b < direction.blocks; ++b)
        for (int r = 0; fixed && r < active; r += WHOLE_STEP_ROWS)
          step_whole_of<WHOLE_STEP_ROWS>(
              std::min(WHOLE_STEP_ROWS, active - r), rows.data() + r,
              folded ? 0 : direction.inputs_even,
              direction.whole.data() + size_t(b) * direction.depth_even * BLOCK,
              direction.scales.data() + b * BLOCK, b, state_whole.data() + r * padded,
              t ? int(padded) : 0, padded, memory.data() + r * padded, next.data() + r * padded,
              next_whole.data() + r * padded);
      for (int b = 0; b < direction.blocks; ++b)
        for (int r = 0; !fixed && r < active; r += STEP_ROWS) {
          const float* weights = direction.block(b);
          int depth = t ? direction.units : 0, from = folded ? 0 : direction.inputs;
          if (folded) weights += size_t(direction.inputs) * BLOCK;
          step_of<STEP_ROWS>(std::min(STEP_ROWS, active - r), rows.data() + r, from, weights, b,
                             state.data() + r * padded, depth, padded, memory.data() + r * padded,
                             next.data() + r * padded);
        }
      state.swap(next);
      state_whole.swap(next_whole);
      for (; active && lengths[active - 1] == t + 1; --active)
        std::copy_n(state.data() + (active - 1) * padded, padded, last + (active - 1) * width);
    }
  }

  // One sentence's states [length, width] → its vector, without the added units.
  void pool(const float* states, int length, int width, float* out) const {
    int units = layers.back().ahead.units, back = layers.back().ahead.padded();
    for (int part : {MEAN, MAX}) {
      if (!(pooling & part) && (pooling != ONE || part == MAX)) continue;
      for (int unit = 0; unit < 2 * units; ++unit) {
        const float* column = states + (unit < units ? unit : back + unit - units);
        float value = *column;
        for (int t = 1; t < length; ++t) {
          float other = column[size_t(t) * width];
          value = part == MEAN ? value + other : std::max(value, other);
        }
        *out++ = part == MEAN && pooling != ONE ? value / float(length) : value;
      }
    }
  }
};
