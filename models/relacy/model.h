/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.h - Relacy, set up for the models of this folder, and how they are run and reported.
 *
 * Each model compiles the library's own headers with FOLIO_ATOMIC_RELACY: every load, store and
 * read-modify-write is then a point where the scheduler may switch threads, and a load that nothing orders may
 * return an older value. Plain data that the protocol has to protect is rl::var: two accesses
 * without an order between them are reported as a data race, whatever they read.
 *
 * Relacy is made weaker here than it comes, in two ways:
 *
 *   - It remembers HISTORY values of a word rather than 3, and full and context-bound searches branch
 *     over all of them rather than over the last two: a version or a slot that went away and came
 *     back is old by more than one store.
 *   - A store ends the release sequences that stand before it in the word, also those of its own thread, as
 *     C++20 has it; C11 lets the same thread continue one. What is proven with the weaker
 *     rule holds with both.
 *
 * What it does not show: executions with a cycle in program order, reads-from and modification order together
 * (a load that sees a store of its own future, stores to one word that take effect in another order
 * than they were executed); a compare-and-swap that fails always saw the newest value.
 */
#ifndef MODEL_H
#define MODEL_H

#define FOLIO_ATOMIC_RELACY

#define atomic_history_size atomic_history_size_of_relacy
#include <relacy/base.hpp>
#undef atomic_history_size
namespace rl
{
/* A power of two: the index of the newest value wraps. */
size_t const atomic_history_size = 8;
} // namespace rl
#include <relacy/relacy.hpp>
/* Relacy puts its own in place of these; the models need none of them. */
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

/* Plain stores under the rule of C++20; see above. For each number of threads that a model has. */
#define MODEL_STORE_(threads, order, published)                                                    \
	template <>                                                                                \
	template <>                                                                                \
	unsigned thread_info<threads>::atomic_store<order, false>(atomic_data * data)              \
	{                                                                                          \
		atomic_data_impl<threads> &word = *static_cast<atomic_data_impl<threads> *>(data); \
		unsigned index = ++word.current_index_ % atomic_history_size;                      \
                                                                                                   \
		own_acq_rel_order_++;                                                              \
		word.history_[index].busy_ = true;                                                 \
		word.history_[index].seq_cst_ = false;                                             \
		word.history_[index].thread_id_ = index_;                                          \
		word.history_[index].acq_rel_timestamp_ = own_acq_rel_order_;                      \
		for (thread_id_t i = 0; i < threads; i++) {                                        \
			word.history_[index].first_seen_order_[i] = (timestamp_t)-1;               \
			word.history_[index].acq_rel_order_[i] = published[i];                     \
		}                                                                                  \
		word.history_[index].first_seen_order_[index_] = own_acq_rel_order_;               \
		return index;                                                                      \
	}
#define MODEL_THREADS_(threads)                                 \
	MODEL_STORE_(threads, mo_relaxed, release_fence_order_) \
	MODEL_STORE_(threads, mo_release, acq_rel_order_)

namespace rl
{
MODEL_THREADS_(2)
MODEL_THREADS_(3)
MODEL_THREADS_(4)
} // namespace rl

#include <folio/ref.h>

/* Data that is not atomic. */
#define PLAIN_LOAD(variable)         ((variable)(RL_INFO).load())
#define PLAIN_STORE(variable, value) ((variable)(RL_INFO).store(value))

/* What a model claims. The text is what a failure prints. */
#define CLAIM(condition, text) \
	RL_ASSERT_IMPL((condition), rl::test_result_user_assert_failed, text, RL_INFO)

/*
 * A situation that the model is about. It counts how often the searches came there; a model that does not come there
 * at all proves nothing and fails.
 */
class scenario
{
      public:
	explicit scenario(const char *text) : text_(text)
	{
		scenario **end = &first();

		while (*end)
			end = &(*end)->next_;
		*end = this;
	}

	void reached()
	{
		count_++;
	}

	/* Prints all; true when each was reached. */
	static bool report()
	{
		bool all = true;

		for (scenario *s = first(); s; s = s->next_) {
			printf("  reached %llu times: %s\n", (unsigned long long)s->count_,
				s->text_);
			all = all && s->count_;
		}
		return all;
	}

      private:
	static scenario *&first()
	{
		static scenario *list;

		return list;
	}

	const char *text_;
	scenario *next_ = NULL;
	unsigned long long count_ = 0;
};

/*
 * Hands something over as a lock does, or a queue between threads: what the giver did before is seen by the taker. In
 * two steps, where a lock with a list in it takes six; that is what keeps full searches small.
 */
struct handover {
	folio_ptr place;

	void init(void *content)
	{
		folio_ptr_store_relaxed(&place, content);
	}

	void give(void *content)
	{
		CLAIM(!place.debug_value(), "given back twice");
		folio_ptr_store_release(&place, content);
	}

	/* NULL when there is nothing. */
	void *take()
	{
		return folio_ptr_exchange_acquire(&place, NULL);
	}
};

/* One thread at a time, from lock to unlock. */
struct lock {
	rl::mutex mutex;

	void acquire()
	{
		mutex.lock(RL_INFO);
	}

	void release()
	{
		mutex.unlock(RL_INFO);
	}
};

/*
 * Random executions. Relacy's own generator repeats itself within a few steps; this one is splitmix64, seeded with the
 * number of the execution. Each execution draws how sticky it is: a thread that runs goes on with
 * probability 0, 1/2, 3/4 or 7/8, so that long stalls of one thread come up as well as busy switching.
 */
template <rl::thread_id_t threads>
class random_search
    : public rl::scheduler<random_search<threads>, rl::scheduler_thread_info, threads>
{
      public:
	typedef rl::scheduler<random_search<threads>, rl::scheduler_thread_info, threads> base;
	typedef typename base::shared_context_t shared_context_t;

	struct task_t {
	};

	random_search(rl::test_params &params, shared_context_t &context, rl::thread_id_t dynamic)
	    : base(params, context, dynamic)
	{
	}

	rl::thread_id_t iteration_begin_impl()
	{
		state_ = this->iter_ * UINT64_C(0xd1342543de82ef95);
		sticky_ = 1u << draw(4);
		return pick();
	}

	bool iteration_end_impl()
	{
		return this->iter_ == this->params_.iteration_count;
	}

	rl::thread_id_t schedule_impl(rl::unpark_reason &reason, unsigned yield)
	{
		reason = rl::unpark_reason_normal;
		if (!yield && this->thread_->state_ == rl::thread_state_running && draw(sticky_))
			return this->thread_->index_;
		return pick();
	}

	unsigned rand_impl(unsigned limit, rl::sched_type)
	{
		return draw(limit);
	}

	rl::iteration_t iteration_count_impl()
	{
		return this->params_.iteration_count;
	}

	void get_state_impl(std::ostream &)
	{
	}

	void set_state_impl(std::istream &)
	{
	}

	void on_thread_block(rl::thread_id_t, bool)
	{
	}

      private:
	unsigned draw(unsigned limit)
	{
		uint64_t z = state_ += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		return (unsigned)((z >> 32) * limit >> 32);
	}

	rl::thread_id_t pick()
	{
		return this->running_threads[draw((unsigned)this->running_threads_count)];
	}

	uint64_t state_;
	unsigned sticky_;
};

/*
 * Runs the searches that a model asks for and says what they were. FOLIO_SEED: the first seed of random
 * searches (1 unless told); each execution has the next. FOLIO_TEST_SCALE: multiplier of their number.
 * What fails is run again from the state where it failed, printed step by step, and random searches
 * name the seed that fails at once.
 */
class model
{
      public:
	explicit model(const char *name) : name_(name)
	{
	}

	/* All executions. */
	template <class test> void full()
	{
		rl::test_params params;

		search<test, rl::full_search_scheduler<test::params::thread_count>>(
			params, "full search", 0, 0);
	}

	/*
	 * All executions in which at most @switches times a thread is taken from the processor that could go on; one
	 * less where FOLIO_TEST_SCALE is below 1.
	 */
	template <class test> void bound(unsigned switches)
	{
		rl::test_params params;
		char what[64];

		if (scale() < 1)
			switches--;
		snprintf(what, sizeof(what), "all with at most %u preemptions", switches);
		params.context_bound = switches;
		search<test, rl::context_bound_scheduler<test::params::thread_count>>(
			params, what, 0, 0);
	}

	/* @executions with random switches and random old values. */
	template <class test> void random(uint64_t executions)
	{
		const char *seed_text = getenv("FOLIO_SEED");
		uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
		rl::test_params params;
		char what[96];

		executions = (uint64_t)(executions * scale());
		if (seed == 0)
			seed = 1;
		if (executions == 0)
			executions = 1;
		snprintf(what, sizeof(what), "random, seeds %llu to %llu", (unsigned long long)seed,
			(unsigned long long)(seed + executions - 1));
		search<test, random_search<test::params::thread_count>>(
			params, what, seed, executions);
	}

	/* Exit status. */
	int result()
	{
		if (failed_)
			return 1;
		if (!scenario::report()) {
			printf("%s: a scenario was never reached\n", name_);
			return 1;
		}
		return 0;
	}

      private:
	static double scale()
	{
		const char *text = getenv("FOLIO_TEST_SCALE");

		return text ? strtod(text, NULL) : 1;
	}

	template <class test, class scheduler>
	void search(rl::test_params &params, const char *what, uint64_t seed, uint64_t executions)
	{
		std::ostream nowhere(NULL);
		rl::ostringstream state;
		rl::test_result_e result;
		struct timespec begin, end;

		if (failed_)
			return;
		/* What Relacy goes by when it decides how far back a load may look. */
		params.search_type = rl::sched_random;
		params.progress_stream = &nowhere;
		/* Steps after which a thread that only waits for others is taken to wait for ever. */
		params.execution_depth_limit = 300;
		if (seed) {
			params.initial_state = std::to_string(seed).c_str();
			params.iteration_count = seed + executions - 1;
		}
		printf("%s: %s\n", name_, what);
		fflush(stdout);
		clock_gettime(CLOCK_MONOTONIC, &begin);
		result = rl::run_test<test, scheduler>(params, state, false);
		clock_gettime(CLOCK_MONOTONIC, &end);
		if (result == rl::test_result_success) {
			printf("  %llu executions, %.1f s\n",
				(unsigned long long)(seed ? executions : params.stop_iteration),
				(end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) * 1e-9);
			return;
		}
		failed_ = true;
		params.initial_state = state.str();
		params.collect_history = true;
		rl::run_test<test, scheduler>(params, state, true);
		std::cout.flush();
		printf("%s: FAILED: %s\n", name_, rl::test_result_str(result));
		if (seed)
			printf("%s: again with FOLIO_SEED=%llu\n", name_,
				(unsigned long long)params.stop_iteration);
	}

	const char *name_;
	bool failed_ = false;
};

#endif
