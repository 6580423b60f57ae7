// The encoders as a shared library, for each instruction set that pays; Python opens it by ctypes.
//
// A call works on one thread and shares nothing that it writes: callers make as many calls at once as
// there are cores. Built by setup.py; where it is not, TensorFlow encodes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <vector>

// Sentences somewhere in a long row of ids.
struct Sentences {
  const int32_t* values;
  const int64_t* starts;
  const int32_t* lengths;
  int count;

  int id(int sentence, int token) const { return values[starts[sentence] + token]; }
  int tokens() const { return std::accumulate(lengths, lengths + count, 0); }
  int longest() const { return *std::max_element(lengths, lengths + count); }
};

// `seen`, where it is not null: the greatest sizes of the products' inputs, raised to what comes by.
struct Encoder {
  virtual ~Encoder() = default;
  virtual void encode(const Sentences& sentences, float* out, float* seen) const = 0;
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "lanes.h"
#include "product.h"
#include "bert.h"
#include "universal.h"
#include "cnn.h"
#include "lstm_step.h"
#include "lstm.h"
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,fma")
#define TWINBEAM_AVX512
namespace avx512 {
#include "lanes.h"
#include "product.h"
#include "bert.h"
#include "universal.h"
#include "cnn.h"
#include "lstm_step.h"
#include "lstm.h"
}  // namespace avx512
#pragma GCC pop_options

static int best() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return 2;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 1 : 0;
}

template <typename Bert, typename Lstm, typename Universal, typename Cnn>
static Encoder* made_of(int kind, const int* numbers, const float* const* arrays) {
  if (kind == 0) return new Bert(numbers, arrays);
  if (kind == 1) return new Lstm(numbers, arrays);
  if (kind == 2) return new Universal(numbers, arrays);
  return new Cnn(numbers, arrays);
}

static Encoder* make(int level, int kind, const int* numbers, const float* const* arrays) {
  if (level == 2)
    return made_of<avx512::Bert, avx512::Lstm, avx512::Universal, avx512::Cnn>(kind, numbers, arrays);
  return made_of<avx2::Bert, avx2::Lstm, avx2::Universal, avx2::Cnn>(kind, numbers, arrays);
}

#else

static int best() { return 0; }
static Encoder* make(int, int, const int*, const float* const*) { return nullptr; }

#endif

extern "C" {

// Raised with whatever changes how encoders are handed over; library.py asks for the same number.
int twinbeam_interface() { return 3; }

// The greatest level that this CPU can run: 2 AVX-512, 1 AVX2 with FMA, 0 none.
int twinbeam_level() { return best(); }

// An encoder of a kind (0 BERT or Transformer, 1 LSTM, 2 Universal Sentence Encoder, 3 convolutions) at a
// level; null where there is no memory for it.
void* twinbeam_new(int level, int kind, const int* numbers, const float* const* arrays) {
  try {
    return make(level, kind, numbers, arrays);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// Encodes sentences into out [count, dimensions]; 0, or 1 where there is no memory for it.
int twinbeam_encode(const void* encoder, const int32_t* values, const int64_t* starts,
                    const int32_t* lengths, int count, float* out, float* seen) {
  try {
    static_cast<const Encoder*>(encoder)->encode({values, starts, lengths, count}, out, seen);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

void twinbeam_free(void* encoder) { delete static_cast<Encoder*>(encoder); }
}
