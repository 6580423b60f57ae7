// One direction of an LSTM, and one step of it. Included after lanes.h.
//
// A step is one pass: the products of LANES units' four gates stay in registers until the new state
// is worked out of them. Rows are sorted from long to short, and a step has only those that are not
// at their end: padding costs nothing.

constexpr int GATES = 4;              // input, forget, cell, output, as Keras has them
constexpr int BLOCK = GATES * LANES;  // the gates of LANES units, side by side

// One direction of one layer. Units are padded to full blocks; the added ones stay zero.
struct Direction {
  int inputs, units, blocks;
  std::vector<float> weights;  // [blocks, inputs + padded units, BLOCK]
  std::vector<int16_t> whole;  // in fixed point: the same with two rows side by side,
  std::vector<float> scales;   // and [blocks, BLOCK] what leads back from whole numbers
  std::vector<float> bias;     // [blocks, BLOCK]
  std::vector<float> table;    // where folded: bias + the input's product, [vocabulary, blocks, BLOCK]

  // kernel [inputs, 4 units], recurrent [units, 4 units], offset [4 units]. `places` says in which
  // of `width` columns of the layer below each input stands.
  Direction(const float* kernel, const float* recurrent, const float* offset, int units,
            const std::vector<int>& places, int width)
      : inputs(width), units(units), blocks((units + LANES - 1) / LANES),
        weights(size_t(blocks) * (width + padded()) * BLOCK), bias(size_t(blocks) * BLOCK) {
    for (int gate = 0; gate < GATES; ++gate)
      for (int unit = 0; unit < units; ++unit) {
        int block = unit / LANES, from = gate * units + unit, to = gate * LANES + unit % LANES;
        float* w = weights.data() + size_t(block) * (inputs + padded()) * BLOCK + to;
        bias[block * BLOCK + to] = offset[from];
        for (size_t i = 0; i < places.size(); ++i)
          w[size_t(places[i]) * BLOCK] = kernel[i * GATES * units + from];
        for (int i = 0; i < units; ++i)
          w[size_t(inputs + i) * BLOCK] = recurrent[size_t(i) * GATES * units + from];
      }
  }

  int padded() const { return blocks * LANES; }
  const float* block(int b) const { return weights.data() + size_t(b) * (inputs + padded()) * BLOCK; }

  // Brings what is left in the steps to fixed point: inputs of at most `range`, where they are not
  // folded, and states, which are below 1.
  void fix(float range) {
    int first = table.empty() ? 0 : inputs, rows = inputs + padded();
    inputs_even = (inputs - first + 1) / 2 * 2;
    depth_even = inputs_even + padded();
    whole.assign(size_t(blocks) * depth_even * BLOCK, 0);
    scales.assign(size_t(blocks) * BLOCK, 0.0f);
    for (int b = 0; b < blocks; ++b)
      for (int column = 0; column < BLOCK; ++column) {
        double sum = 0, greatest = 0;
        auto weight = [&](int row) {
          return block(b)[size_t(row) * BLOCK + column] * (row < inputs ? range : 1.0f);
        };
        for (int row = first; row < rows; ++row) {
          sum += std::fabs(weight(row));
          greatest = std::max(greatest, double(std::fabs(weight(row))));
        }
        float by = weight_step(sum, greatest, rows - first);
        scales[b * BLOCK + column] = by / MOST_STEPS;
        for (int row = first; row < rows; ++row) {
          int k = row < inputs ? row - first : inputs_even + row - inputs;
          whole[size_t(b) * depth_even * BLOCK + size_t(k / 2) * 2 * BLOCK + column * 2 + k % 2] =
              int16_t(std::lrint(weight(row) / by));
        }
      }
    std::vector<float>().swap(weights);
  }

  int inputs_even = 0, depth_even = 0;  // of `whole`: rows of the input, and all of them

  // Works out the input's part for every row of `embeddings` [vocabulary, inputs].
  void fold(const std::vector<float>& embeddings) {
    size_t vocabulary = embeddings.size() / inputs, row = size_t(blocks) * BLOCK;
    table.resize(vocabulary * row);
    for (size_t id = 0; id < vocabulary; ++id)
      for (int b = 0; b < blocks; ++b)
        for (int gate = 0; gate < GATES; ++gate) {
          Floats sum = load(bias.data() + b * BLOCK + gate * LANES);
          const float* w = block(b) + gate * LANES;
          for (int i = 0; i < inputs; ++i)
            sum = fma(all(embeddings[id * inputs + i]), load(w + size_t(i) * BLOCK), sum);
          store(table.data() + id * row + b * BLOCK + gate * LANES, sum);
        }
  }
};

// A row in a step: where its gates start from, its input, and where its state goes as well.
struct StepRow {
  const float *start, *input;
  const int16_t* whole;  // the input in fixed point
  float* out;
};

// sigmoid(x) = 1 / (1 + e^-x) and tanh(x) = (1 - e^-2x) / (1 + e^-2x); f · memory + i · tanh(c) on one
// denominator needs one division instead of three. Gives the new state.
INLINE Floats opened(const Floats* gates, float* memory) {
  Floats i = one_and_decay(gates[0]), f = one_and_decay(gates[1]);
  Floats c = one_and_decay(add(gates[2], gates[2]));
  Floats ic = mul(i, c), rest = sub(all(2.0f), c);
  Floats cell = div(fma(load(memory), ic, mul(rest, f)), mul(f, ic));
  store(memory, cell);
  Floats o = one_and_decay(gates[3]), t = one_and_decay(add(cell, cell));
  return div(sub(all(2.0f), t), mul(o, t));
}

// The new states of ROWS rows and the LANES units of a block. `depth` is how much of the old state
// counts: nothing at the first step, where it is zero.
template <int ROWS>
NOINLINE void step(const StepRow* rows, int inputs, const float* weights, int b, const float* state,
                   int depth, size_t stride, float* memory, float* next) {
  Floats sum[ROWS][GATES];
  for (int r = 0; r < ROWS; ++r)
    for (int gate = 0; gate < GATES; ++gate)
      sum[r][gate] = load(rows[r].start + b * BLOCK + gate * LANES);
  for (int i = 0; i < inputs; ++i, weights += BLOCK)
    for (int gate = 0; gate < GATES; ++gate) {
      Floats w = load(weights + gate * LANES);
      for (int r = 0; r < ROWS; ++r) sum[r][gate] = fma(all(rows[r].input[i]), w, sum[r][gate]);
    }
  for (int i = 0; i < depth; ++i, weights += BLOCK)
    for (int gate = 0; gate < GATES; ++gate) {
      Floats w = load(weights + gate * LANES);
      for (int r = 0; r < ROWS; ++r) sum[r][gate] = fma(all(state[r * stride + i]), w, sum[r][gate]);
    }
  for (int r = 0; r < ROWS; ++r) {
    Floats value = opened(sum[r], memory + r * stride + b * LANES);
    store(next + r * stride + b * LANES, value);
    if (rows[r].out) store(rows[r].out + b * LANES, value);
  }
}

// The same in fixed point, whose old states are whole numbers; the new ones are kept as both.
template <int ROWS>
NOINLINE void step_whole(const StepRow* rows, int inputs, const int16_t* weights,
                         const float* scales, int b, const int16_t* state, int depth, size_t stride,
                         float* memory, float* next, int16_t* next_whole) {
  Wholes sum[ROWS][GATES];
  for (int r = 0; r < ROWS; ++r)
    for (int gate = 0; gate < GATES; ++gate) sum[r][gate] = no_wholes();
  for (int i = 0; i < inputs; i += 2, weights += 2 * BLOCK)
    for (int gate = 0; gate < GATES; ++gate) {
      Wholes w = wholes(weights + gate * 2 * LANES);
      for (int r = 0; r < ROWS; ++r)
        sum[r][gate] = dot(sum[r][gate], all_pairs(pair_at(rows[r].whole + i)), w);
    }
  for (int i = 0; i < depth; i += 2, weights += 2 * BLOCK)
    for (int gate = 0; gate < GATES; ++gate) {
      Wholes w = wholes(weights + gate * 2 * LANES);
      for (int r = 0; r < ROWS; ++r)
        sum[r][gate] = dot(sum[r][gate], all_pairs(pair_at(state + r * stride + i)), w);
    }
  for (int r = 0; r < ROWS; ++r) {
    Floats gates[GATES];
    for (int gate = 0; gate < GATES; ++gate)
      gates[gate] = fma(as_floats(sum[r][gate]), load(scales + gate * LANES),
                        load(rows[r].start + b * BLOCK + gate * LANES));
    Floats value = opened(gates, memory + r * stride + b * LANES);
    store(next + r * stride + b * LANES, value);
    store_steps(next_whole + r * stride + b * LANES, value, all(MOST_STEPS));
    if (rows[r].out) store(rows[r].out + b * LANES, value);
  }
}

template <int ROWS, typename... Rest>
INLINE void step_whole_of(int rows, Rest... rest) {
  if (rows == ROWS)
    step_whole<ROWS>(rest...);
  else if constexpr (ROWS > 1)
    step_whole_of<ROWS - 1>(rows, rest...);
}

template <int ROWS, typename... Rest>
INLINE void step_of(int rows, Rest... rest) {
  if (rows == ROWS)
    step<ROWS>(rest...);
  else if constexpr (ROWS > 1)
    step_of<ROWS - 1>(rows, rest...);
}
