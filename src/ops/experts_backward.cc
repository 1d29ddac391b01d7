// Gradients of SwiGLU networks, of one or of a layer's experts. First the rows of all networks,
// tile by tile: gradients of what went in. Then the gradients of the weights, each a product over
// all rows of its network. Last each token's sum over its networks, in the order of the choices.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/elementwise_backward.h"
#include "kernels/scratch.h"
#include "ops/experts.h"

namespace dsv3::ops {
namespace {

using kernels::matmul;
using kernels::MatmulOperand;

constexpr int64_t kRows = 128;     // of a network that are a task
constexpr int64_t kWeights = 192;  // rows of a weight's gradient that are a task

// One network and its rows.
struct Job {
  const MlpWeights* weights;
  MlpWeights* gradient;
  const int32_t* tokens;  // rows of x and dy; null: row i
  const float* scales;    // by which outputs are multiplied; null: 1
  Matrix gate, up;        // as the forward pass left them; become their gradients
  Matrix hidden;          // receives silu(gate) * up
  Matrix dx;              // receives each row's gradient of x
  float* d_scales;        // receives the gradients of `scales`; null: they are not wanted

  int64_t size() const { return gate.rows; }
};

MatmulOperand rows_of(Matrix x, const int32_t* tokens, int64_t begin) {
  if (tokens == nullptr) return operand(x.row_range(begin, x.rows));
  MatmulOperand rows = operand(x);
  rows.rows = tokens + begin;
  return rows;
}

void rows_backward(const Job& job, Matrix dy, int64_t begin, int64_t end) {
  static thread_local kernels::Scratch scratch;
  const MlpWeights& w = *job.weights;
  const int64_t n = end - begin, inner = job.gate.cols, hidden = dy.cols;
  const Matrix d_hidden(scratch.get(n * inner), n, inner);
  matmul(backward_precision(w.down_proj), n, inner, hidden, rows_of(dy, job.tokens, begin),
         operand(w.down_proj), false, d_hidden.data, inner);
  for (int64_t i = 0; i < n; ++i) {
    const float scale = job.scales == nullptr ? 1.0f : job.scales[begin + i];
    const float d_scale =
        kernels::swiglu_backward(job.gate.row(begin + i), job.up.row(begin + i), d_hidden.row(i),
                                 scale, inner, job.hidden.row(begin + i));
    if (job.d_scales != nullptr) job.d_scales[begin + i] = d_scale;
  }
  const Matrix dx = job.dx.row_range(begin, end);
  matmul(backward_precision(w.gate_proj), n, hidden, inner, operand(job.gate.row_range(begin, end)),
         operand(w.gate_proj), false, dx.data, dx.stride);
  matmul(backward_precision(w.up_proj), n, hidden, inner, operand(job.up.row_range(begin, end)),
         operand(w.up_proj), true, dx.data, dx.stride);
}

// Rows [begin, end) of dW += left^T right.
void weight_backward(const LinearWeight& w, MatmulOperand left, MatmulOperand right, int64_t rows,
                     int64_t begin, int64_t end, LinearWeight& gradient) {
  const int64_t in = w.in_features();
  left.data = static_cast<const float*>(left.data) + begin;
  matmul(backward_precision(w), end - begin, in, rows, transposed(left), right, true,
         gradient.weight.as_mutable<float>().data() + begin * in, in);
}

// All but the sums over each token's networks.
void backward(std::span<const Job> jobs, Matrix x, Matrix dy) {
  struct Task {
    const Job* job;
    int part;  // 0: rows; 1, 2, 3: gate_proj, up_proj, down_proj
    int64_t begin, end;
  };
  std::vector<Task> row_tasks, weight_tasks;
  const auto split = [](std::vector<Task>& tasks, const Job& job, int part, int64_t n,
                        int64_t step) {
    for (int64_t i = 0; i < n; i += step) tasks.push_back({&job, part, i, std::min(n, i + step)});
  };
  for (const Job& job : jobs) {
    const int64_t inner = job.gate.cols;
    split(row_tasks, job, 0, job.size(), kRows);
    for (const int part : {1, 2, 3})
      split(weight_tasks, job, part, part == 3 ? dy.cols : inner, kWeights);
  }
  thread_pool().parallel_for(static_cast<int64_t>(row_tasks.size()), [&](int64_t i) {
    rows_backward(*row_tasks[i].job, dy, row_tasks[i].begin, row_tasks[i].end);
  });
  thread_pool().parallel_for(static_cast<int64_t>(weight_tasks.size()), [&](int64_t i) {
    const auto& [job, part, begin, end] = weight_tasks[i];
    if (part == 3) {
      MatmulOperand d_out = rows_of(dy, job->tokens, 0);
      d_out.row_scale = job->scales;
      weight_backward(job->weights->down_proj, d_out, operand(job->hidden), job->size(), begin, end,
                      job->gradient->down_proj);
    } else {
      const bool gate = part == 1;
      weight_backward(gate ? job->weights->gate_proj : job->weights->up_proj,
                      operand(gate ? job->gate : job->up), rows_of(x, job->tokens, 0), job->size(),
                      begin, end, gate ? job->gradient->gate_proj : job->gradient->up_proj);
    }
  });
}

}  // namespace

void mlp_backward(Matrix x, const MlpWeights& w, Matrix dy, const MlpActivations& kept, Matrix dx,
                  MlpWeights& gradient) {
  static thread_local kernels::Scratch scratch;
  const int64_t inner = kept.gate.cols;
  const Job job{.weights = &w,
                .gradient = &gradient,
                .gate = kept.gate,
                .up = kept.up,
                .hidden = Matrix(scratch.get(x.rows * inner), x.rows, inner),
                .dx = dx};
  backward(std::span(&job, 1), x, dy);
}

void mixture_of_experts_backward(Matrix x, const Routing& routing, int64_t num_experts_per_tok,
                                 std::span<const MlpWeights> experts, const MlpWeights* shared,
                                 Matrix dy, const ExpertsActivations& kept, Matrix dx,
                                 std::span<float> d_weights, std::span<MlpWeights> gradients,
                                 MlpWeights* d_shared) {
  static thread_local kernels::Scratch scratch;
  const int64_t k = num_experts_per_tok, pairs = x.rows * k, inner = kept.routed.gate.cols,
                shared_inner = shared == nullptr ? 0 : kept.shared.gate.cols;
  const PairsByExpert sorted = sort_by_expert(routing, k, static_cast<int64_t>(experts.size()));
  const Matrix hidden(scratch.get(pairs * (inner + x.cols + 1) + x.rows * shared_inner), pairs,
                      inner);
  const Matrix d_rows(hidden.data + pairs * inner, pairs, x.cols);
  const Matrix shared_hidden(d_rows.data + pairs * x.cols, x.rows, shared_inner);
  float* d_scales = shared_hidden.data + x.rows * shared_inner;

  std::vector<Job> jobs;  // the largest first
  if (shared != nullptr) {
    jobs.push_back({.weights = shared,
                    .gradient = d_shared,
                    .gate = kept.shared.gate,
                    .up = kept.shared.up,
                    .hidden = shared_hidden,
                    .dx = dx});
  }
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t begin = sorted.first[e], end = sorted.first[e + 1];
    if (begin == end) continue;
    jobs.push_back({.weights = &experts[e],
                    .gradient = &gradients[e],
                    .tokens = sorted.tokens.data() + begin,
                    .scales = sorted.weights.data() + begin,
                    .gate = kept.routed.gate.row_range(begin, end),
                    .up = kept.routed.up.row_range(begin, end),
                    .hidden = hidden.row_range(begin, end),
                    .dx = d_rows.row_range(begin, end),
                    .d_scales = d_scales + begin});
  }
  backward(jobs, x, dy);
  thread_pool().parallel_for(x.rows, [&](int64_t t) {
    if (shared == nullptr) std::fill_n(dx.row(t), x.cols, 0.0f);
    for (int64_t i = t * k; i < (t + 1) * k; ++i) {
      kernels::add(d_rows.row(sorted.places[i]), x.cols, dx.row(t));
      d_weights[i] = d_scales[sorted.places[i]];
    }
  });
}

}  // namespace dsv3::ops
