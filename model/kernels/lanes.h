// A vector of LANES floats and what the encoders do with it. Included once for each instruction set,
// inside that set's namespace.
//
// Every sum is a chain of fused multiply-adds in an order that the sentence alone decides. So a
// vector's bits depend neither on the batch, nor on threads, nor on how many lanes the CPU has.

#if defined(TWINBEAM_AVX512)

typedef __m512 Floats;
constexpr int LANES = 16;
constexpr int TILE_ROWS = 12;  // 24 of the 32 registers hold sums
constexpr int STEP_ROWS = 6;
constexpr int WHOLE_TILE_ROWS = 12, WHOLE_STEP_ROWS = 6;

INLINE Floats load(const float* from) { return _mm512_loadu_ps(from); }
INLINE void store(float* to, Floats a) { _mm512_storeu_ps(to, a); }
INLINE Floats all(float a) { return _mm512_set1_ps(a); }
INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
INLINE Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
INLINE Floats least(Floats a, Floats b) { return _mm512_min_ps(a, b); }
INLINE Floats most(Floats a, Floats b) { return _mm512_max_ps(a, b); }
INLINE Floats nearest(Floats a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

typedef __m512i Wholes;  // LANES numbers of 32 bits, or twice as many of 16

INLINE Wholes wholes(const int16_t* from) { return _mm512_loadu_si512(from); }
INLINE Wholes all_pairs(int32_t pair) { return _mm512_set1_epi32(pair); }
INLINE Wholes no_wholes() { return _mm512_setzero_si512(); }
INLINE Wholes dot(Wholes sum, Wholes a, Wholes b) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
INLINE Floats as_floats(Wholes a) { return _mm512_cvtepi32_ps(a); }
INLINE void store_whole(int16_t* to, Floats a) {
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a)));
}

INLINE Floats power_of_two(Floats n) {
  __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}

#else  // AVX2 and FMA

typedef __m256 Floats;
constexpr int LANES = 8;
constexpr int TILE_ROWS = 6;  // 12 of the 16 registers hold sums
constexpr int STEP_ROWS = 3;
constexpr int WHOLE_TILE_ROWS = 4, WHOLE_STEP_ROWS = 2;  // products need registers of their own

INLINE Floats load(const float* from) { return _mm256_loadu_ps(from); }
INLINE void store(float* to, Floats a) { _mm256_storeu_ps(to, a); }
INLINE Floats all(float a) { return _mm256_set1_ps(a); }
INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
INLINE Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
INLINE Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
INLINE Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
INLINE Floats least(Floats a, Floats b) { return _mm256_min_ps(a, b); }
INLINE Floats most(Floats a, Floats b) { return _mm256_max_ps(a, b); }
INLINE Floats nearest(Floats a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

typedef __m256i Wholes;  // LANES numbers of 32 bits, or twice as many of 16

INLINE Wholes wholes(const int16_t* from) { return _mm256_loadu_si256((const __m256i*)from); }
INLINE Wholes all_pairs(int32_t pair) { return _mm256_set1_epi32(pair); }
INLINE Wholes no_wholes() { return _mm256_setzero_si256(); }
INLINE Wholes dot(Wholes sum, Wholes a, Wholes b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
INLINE Floats as_floats(Wholes a) { return _mm256_cvtepi32_ps(a); }
INLINE void store_whole(int16_t* to, Floats a) {
  __m256i rounded = _mm256_cvtps_epi32(a);
  __m128i high = _mm256_extracti128_si256(rounded, 1);
  _mm_storeu_si128((__m128i*)to, _mm_packs_epi32(_mm256_castsi256_si128(rounded), high));
}

INLINE Floats power_of_two(Floats n) {
  __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

#endif

// Fixed point: a number is an integer multiple, up to MOST_STEPS, of a step that was chosen before. Sums of
// whole numbers are exact, in whatever order; their weights are scaled so that none can overflow.
constexpr float MOST_STEPS = 8191.0f;

INLINE void store_steps(int16_t* to, Floats a, Floats per_unit) {
  Floats most_steps = all(MOST_STEPS);
  store_whole(to, least(most(mul(a, per_unit), sub(all(0.0f), most_steps)), most_steps));
}

// Two 16-bit numbers that stand side by side.
INLINE int32_t pair_at(const int16_t* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

// The size of a step for a column of weights whose sizes add up to `sum` and are at most `greatest`:
// the finest for which MOST_STEPS times all of them together stays below 2^31.
static float weight_step(double sum, double greatest, int depth) {
  double room = 2147483647.0 / MOST_STEPS - 0.5 * depth;
  return float(std::max({sum / room, greatest / 32767.0, 1e-30}));
}

// e^x within two units in the last place, for x held to -87 … 87: e^x = 2^n · e^r with |r| ≤ ln 2 / 2,
// and e^r by the polynomial of the Cephes library (Moshier).
INLINE Floats exponential(Floats x) {
  x = most(least(x, all(87.0f)), all(-87.0f));
  Floats n = nearest(mul(x, all(1.44269504088896341f)));
  x = fma(n, all(-0.693359375f), x);  // ln 2 in two parts, so that r keeps its last bits
  x = fma(n, all(2.12194440e-4f), x);
  Floats p = all(1.9875691500e-4f);
  p = fma(p, x, all(1.3981999507e-3f));
  p = fma(p, x, all(8.3334519073e-3f));
  p = fma(p, x, all(4.1665795894e-2f));
  p = fma(p, x, all(1.6666665459e-1f));
  p = fma(p, x, all(5.0000001201e-1f));
  p = fma(p, mul(x, x), add(x, all(1.0f)));
  return mul(p, power_of_two(n));
}

// 1 + e^-x, held where a product of three of them is still finite; sigmoid(28) is 1 - 7e-13.
INLINE Floats one_and_decay(Floats x) {
  x = most(least(x, all(28.0f)), all(-28.0f));
  return add(all(1.0f), exponential(sub(all(0.0f), x)));
}

// tanh x = 1 - 2 / (1 + e^2x), within 1e-7.
INLINE Floats tangent(Floats x) {
  return sub(all(1.0f), div(all(2.0f), add(all(1.0f), exponential(add(x, x)))));
}

// x · Φ(x) in its tanh form (Hendrycks and Gimpel 2016), as BERT has it in Keras.
INLINE Floats gelu(Floats x) {
  constexpr float TWICE = 1.5957691216057308f;  // 2 · sqrt(2 / π)
  Floats inner = mul(x, fma(mul(x, x), all(0.044715f * TWICE), all(TWICE)));
  return div(x, add(all(1.0f), exponential(sub(all(0.0f), inner))));
}

// x · Φ(x) exactly, as Keras has "gelu"; erfc(z) = t · p(t) · e^(-z²) within 2e-7, where t = 1 / (1 + z / 3)
// or so (Abramowitz and Stegun 1964, 7.1.26).
INLINE Floats exact_gelu(Floats x) {
  Floats size = most(x, sub(all(0.0f), x)), z = mul(size, all(0.70710678118654752f));
  Floats t = div(all(1.0f), fma(z, all(0.3275911f), all(1.0f)));
  Floats p = all(1.061405429f);
  p = fma(p, t, all(-1.453152027f));
  p = fma(p, t, all(1.421413741f));
  p = fma(p, t, all(-0.284496736f));
  p = fma(p, t, all(0.254829592f));
  Floats beyond = mul(mul(p, t), exponential(sub(all(0.0f), mul(z, z))));  // erfc(|x| / √2)
  return sub(most(x, all(0.0f)), mul(mul(size, all(0.5f)), beyond));
}

// Sums of 16 columns at a time, whatever the number of lanes; their total in one fixed order.
struct Total {
  Floats sums[16 / LANES];

  __attribute__((always_inline)) Total() {
    for (Floats& sum : sums) sum = all(0.0f);
  }

  __attribute__((always_inline)) float value() const {
    float parts[16];
    for (int part = 0; part < 16 / LANES; ++part) store(parts + part * LANES, sums[part]);
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
    return parts[0];
  }
};
