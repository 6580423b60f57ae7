// Products with a matrix that is packed once. Included after lanes.h.

constexpr int TILE_VECTORS = 2;
constexpr int TILE_COLUMNS = TILE_VECTORS * LANES;
constexpr int ROW_BLOCK = 120;    // with DEPTH_BLOCK: rows that stay in the second cache
constexpr int DEPTH_BLOCK = 384;  // a panel's part that stays in the first cache

// How a sentence's tokens become one vector: one of them (an LSTM's last, a BERT's first), or MEAN | MAX.
enum Pooling { ONE = 0, MEAN = 1, MAX = 2 };

// Rows of a matrix: where they start and how far one is from the next.
struct Rows {
  const float* first;
  size_t stride;

  const float* at(size_t row, size_t column = 0) const { return first + row * stride + column; }
};

// What is done with a product v, and with the number `more` in its place where there is one.
enum Finish { PLAIN, GELU, EXACT_GELU, ADD, RELU, RELU_ADD, ADD_RELU };

INLINE Floats finished(Floats v, Finish finish, Rows more, size_t row, size_t column) {
  if (finish == GELU) return gelu(v);
  if (finish == EXACT_GELU) return exact_gelu(v);
  if (finish == RELU) return most(v, all(0.0f));
  if (finish == ADD) return add(v, load(more.at(row, column)));
  if (finish == RELU_ADD) return add(most(v, all(0.0f)), load(more.at(row, column)));
  if (finish == ADD_RELU) return most(add(v, load(more.at(row, column))), all(0.0f));
  return v;
}

// A matrix [depth, columns] in panels of TILE_COLUMNS columns, and its bias [columns]. With a step for
// its input it is kept in fixed point, two rows side by side; `scales` lead back from whole numbers.
struct Packed {
  int depth, columns, panels;
  float step;
  std::vector<float> values, bias, scales;
  std::vector<int16_t> whole;

  Packed(const float* matrix, const float* offset, int rows, int width, float step = 0.0f)
      : depth(rows), columns(width), panels((width + TILE_COLUMNS - 1) / TILE_COLUMNS), step(step) {
    bias.assign(size_t(panels) * TILE_COLUMNS, 0.0f);
    std::copy(offset, offset + columns, bias.begin());
    if (step > 0.0f) {
      pack_whole(matrix);
      return;
    }
    // `tile` goes down one panel: TILE_COLUMNS columns of a row are neighbours in memory, then those of
    // the next row, so it reads straight ahead. The last panel is filled up with columns of zeros.
    values.assign(size_t(panels) * depth * TILE_COLUMNS, 0.0f);
    for (int column = 0; column < columns; ++column) {
      float* panel = values.data() + size_t(column / TILE_COLUMNS) * depth * TILE_COLUMNS;
      for (int k = 0; k < depth; ++k)
        panel[size_t(k) * TILE_COLUMNS + column % TILE_COLUMNS] = matrix[size_t(k) * columns + column];
    }
  }

  void pack_whole(const float* matrix) {
    whole.assign(size_t(panels) * even() * TILE_COLUMNS, 0);
    scales.assign(bias.size(), 0.0f);
    for (int column = 0; column < columns; ++column) {
      double sum = 0, greatest = 0;
      for (int k = 0; k < depth; ++k) {
        double size = std::fabs(matrix[size_t(k) * columns + column]);
        sum += size;
        greatest = std::max(greatest, size);
      }
      float by = weight_step(sum, greatest, depth);
      scales[column] = by * step;
      int16_t* panel = whole.data() + size_t(column / TILE_COLUMNS) * even() * TILE_COLUMNS;
      // Rows 2i and 2i + 1 of a column are neighbours: `dot` multiplies two int16 by two others and
      // adds both products to an int32. An odd depth has a last row of zeros.
      for (int k = 0; k < depth; ++k)
        panel[size_t(k / 2) * 2 * TILE_COLUMNS + column % TILE_COLUMNS * 2 + k % 2] =
            int16_t(std::lrint(matrix[size_t(k) * columns + column] / by));
    }
  }

  int padded() const { return panels * TILE_COLUMNS; }
  int even() const { return (depth + 1) / 2 * 2; }
};

// out = finish(start + a · panel), for ROWS rows and the panel's columns. `start` is the bias, or the
// sum over the depth before: the chain of additions is the same however the depth is cut.
template <int ROWS>
NOINLINE void tile(Rows a, const float* panel, int depth, Rows start, float* out, size_t stride,
                   Finish finish, Rows more) {
  Floats sum[ROWS][TILE_VECTORS];
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < TILE_VECTORS; ++v) sum[r][v] = load(start.at(r, v * LANES));
  // ROWS x TILE_VECTORS sums stay in registers, and each one takes its products in the order of k. So a
  // row's bits depend neither on how many rows come with it nor on how many a tile has.
  for (int k = 0; k < depth; ++k) {
    Floats b[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; ++v) b[v] = load(panel + k * TILE_COLUMNS + v * LANES);
    for (int r = 0; r < ROWS; ++r) {
      Floats one = all(*a.at(r, k));
      for (int v = 0; v < TILE_VECTORS; ++v) sum[r][v] = fma(one, b[v], sum[r][v]);
    }
  }
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < TILE_VECTORS; ++v) {
      Floats value = sum[r][v];
      store(out + r * stride + v * LANES, finished(value, finish, more, r, v * LANES));
    }
}

// The same in fixed point: a holds whole numbers, `pairs` of them a row.
template <int ROWS>
NOINLINE void tile_whole(const int16_t* a, size_t a_stride, const int16_t* panel, int pairs,
                         const float* scales, const float* bias, float* out, size_t stride,
                         Finish finish, Rows more) {
  Wholes sum[ROWS][TILE_VECTORS];
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < TILE_VECTORS; ++v) sum[r][v] = no_wholes();
  for (int k = 0; k < pairs; ++k) {
    Wholes b[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; ++v) b[v] = wholes(panel + (k * TILE_COLUMNS + v * LANES) * 2);
    for (int r = 0; r < ROWS; ++r) {
      Wholes pair = all_pairs(pair_at(a + r * a_stride + 2 * k));
      for (int v = 0; v < TILE_VECTORS; ++v) sum[r][v] = dot(sum[r][v], pair, b[v]);
    }
  }
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < TILE_VECTORS; ++v) {
      Floats value = fma(as_floats(sum[r][v]), load(scales + v * LANES), load(bias + v * LANES));
      store(out + r * stride + v * LANES, finished(value, finish, more, r, v * LANES));
    }
}

template <int ROWS, typename... Rest>
INLINE void tile_whole_of(int rows, Rest... rest) {
  if (rows == ROWS)
    tile_whole<ROWS>(rest...);
  else if constexpr (ROWS > 1)
    tile_whole_of<ROWS - 1>(rows, rest...);
}

// As `product`, whose input is brought to fixed point first, ROW_BLOCK rows at a time.
static void product_whole(Rows a, const Packed& packed, int rows, float* out, size_t stride,
                          Finish finish, Rows more) {
  int even = packed.even();
  size_t wide = (even + LANES - 1) / LANES * LANES;
  std::vector<int16_t> whole(wide * std::min(rows, ROW_BLOCK), 0);
  Floats per_unit = all(1.0f / packed.step);
  for (int top = 0; top < rows; top += ROW_BLOCK) {
    int count = std::min(ROW_BLOCK, rows - top);
    for (int r = 0; r < count; ++r) {
      int k = 0;
      for (; k + LANES <= packed.depth; k += LANES)
        store_steps(whole.data() + r * wide + k, load(a.at(top + r, k)), per_unit);
      if (k < packed.depth) {
        float rest[LANES] = {0};
        std::copy(a.at(top + r, k), a.at(top + r, packed.depth), rest);
        store_steps(whole.data() + r * wide + k, load(rest), per_unit);
      }
    }
    for (int p = 0; p < packed.panels; ++p) {
      int column = p * TILE_COLUMNS;
      for (int r = 0; r < count; r += WHOLE_TILE_ROWS) {
        Rows added = more.first ? Rows{more.at(top + r, column), more.stride} : more;
        tile_whole_of<WHOLE_TILE_ROWS>(std::min(WHOLE_TILE_ROWS, count - r), whole.data() + r * wide, wide,
                                 packed.whole.data() + size_t(p) * even * TILE_COLUMNS, even / 2,
                                 packed.scales.data() + column, packed.bias.data() + column,
                                 out + size_t(top + r) * stride + column, stride, finish, added);
      }
    }
  }
}

template <int ROWS, typename... Rest>
INLINE void tile_of(int rows, Rest... rest) {
  if (rows == ROWS)
    tile<ROWS>(rest...);
  else if constexpr (ROWS > 1)
    tile_of<ROWS - 1>(rows, rest...);
}

// out [rows, padded columns] = finish(a [rows, depth] · packed + bias), see Finish. `out` holds sums over
// a part of the depth for a while, so it must be neither `a` nor `more`.
static void product(Rows a, const Packed& packed, int rows, float* out, size_t stride,
                    Finish finish = PLAIN, Rows more = {nullptr, 0}) {
  if (packed.step > 0.0f) return product_whole(a, packed, rows, out, stride, finish, more);
  for (int top = 0; top < rows; top += ROW_BLOCK) {
    int bottom = std::min(top + ROW_BLOCK, rows);
    for (int k = 0; k < packed.depth; k += DEPTH_BLOCK) {
      int depth = std::min(DEPTH_BLOCK, packed.depth - k);
      bool last = k + depth == packed.depth;
      for (int p = 0; p < packed.panels; ++p) {
        int column = p * TILE_COLUMNS;
        const float* panel = packed.values.data() + (size_t(p) * packed.depth + k) * TILE_COLUMNS;
        for (int row = top; row < bottom; row += TILE_ROWS) {
          float* to = out + row * stride + column;
          Rows start = k ? Rows{to, stride} : Rows{packed.bias.data() + column, 0};
          Rows added = more.first ? Rows{more.at(row, column), more.stride} : more;
          tile_of<TILE_ROWS>(std::min(TILE_ROWS, bottom - row), Rows{a.at(row, k), a.stride}, panel,
                             depth, start, to, stride, last ? finish : PLAIN, added);
        }
      }
    }
  }
}

// Raises `seen` to the greatest size of a number in rows of `depth`, where it is wanted.
static void note(float* seen, Rows a, int rows, int depth) {
  for (int r = 0; seen && r < rows; ++r)
    for (int k = 0; k < depth; ++k) *seen = std::max(*seen, std::fabs(*a.at(r, k)));
}
