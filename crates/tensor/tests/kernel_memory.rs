//! Kernels take their workspace from the memory that is kept for reuse: once that is warm, a call
//! asks the allocator for the handle of its result and for nothing else.
//!
//! One test, alone in its process, so that nothing else allocates meanwhile.

use std::alloc::System;

use cap::Cap;
use tensor::{Conv2dOptions, ConvAlgorithm, Padding, Pool2dOptions, Result, Tensor};

/// The system's allocator, counting.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that `call` asks the allocator for, once buffers wait for reuse.
fn bytes_of<R>(call: impl Fn() -> Result<R>) -> Result<usize> {
    for _ in 0..3 {
        call()?;
    }
    let before = ALLOCATOR.total_allocated();
    call()?;
    Ok(ALLOCATOR.total_allocated() - before)
}

/// Calls by name, each with the number of tensors that it returns.
struct Calls {
    /// What the allocator gives for a tensor whose elements lie in recycled memory.
    handle: usize,
    failures: Vec<String>,
}

impl Calls {
    fn check<R>(
        &mut self,
        name: impl Into<String>,
        results: usize,
        call: impl Fn() -> Result<R>,
    ) -> Result<()> {
        let bytes = bytes_of(call)?;
        if bytes != results * self.handle {
            let name = name.into();
            let expected = results * self.handle;
            self.failures
                .push(format!("{name}: {bytes} bytes, not {expected}"));
        }
        Ok(())
    }

    /// A convolution and both gradients.
    fn convolution<T: tensor::Float>(
        &mut self,
        name: &str,
        input: [usize; 4],
        filters: [usize; 4],
        options: Conv2dOptions,
    ) -> Result<()> {
        let (x, w) = (Tensor::<T>::ones(input)?, Tensor::ones(filters)?);
        let bias = Tensor::ones([filters[3]])?;
        let dy = x.conv2d(&w, &options)?;
        self.check(format!("{name}, forward"), 1, || {
            x.conv2d_fused(&w, Some(&bias), true, &options)
        })?;
        self.check(format!("{name}, input gradient"), 1, || {
            dy.conv2d_input_gradient(&w, &input, &options)
        })?;
        self.check(format!("{name}, filter gradient"), 1, || {
            x.conv2d_filter_gradient(&dy, &filters, &options)
        })
    }
}

fn convolutions(calls: &mut Calls) -> Result<()> {
    let same = Conv2dOptions::new().padding(Padding::Same);
    let by = |algorithm| same.algorithm(algorithm);
    let (image, filters) = ([2, 30, 26, 32], [3, 3, 32, 48]);
    for (name, algorithm) in [
        ("Winograd", ConvAlgorithm::Winograd),
        ("Winograd 2×2", ConvAlgorithm::Winograd2x2),
        ("im2col", ConvAlgorithm::Im2col),
        ("direct", ConvAlgorithm::Direct),
    ] {
        calls.convolution::<f32>(name, image, filters, by(algorithm))?;
    }
    calls.convolution::<f64>("f64", image, filters, same)?;
    let strided = same.stride([2, 2]);
    calls.convolution::<f32>("5×5, stride 2", [2, 33, 40, 3], [5, 5, 3, 24], strided)?;
    let dilated = same.dilation([2, 3]).groups(2);
    calls.convolution::<f32>("dilated, groups", [2, 20, 21, 16], [3, 3, 8, 24], dilated)?;
    calls.convolution::<f32>("1×1", [4, 14, 14, 64], [1, 1, 64, 128], same)?;
    calls.convolution::<f32>("few pixels", [1, 7, 7, 160], [5, 5, 160, 160], same)?;
    calls.convolution::<f32>("depthwise", [2, 28, 28, 64], [3, 3, 1, 64], same.groups(64))?;

    let (x, w) = (Tensor::<f32>::ones(image)?, Tensor::ones(filters)?);
    let (bias, pool) = (Tensor::ones([48])?, Pool2dOptions::new([2, 2]));
    calls.check("Winograd, pooled", 1, || {
        x.conv2d_relu_max_pool2d(&w, &bias, &same, &pool)
    })
}

fn products(calls: &mut Calls) -> Result<()> {
    for [m, k, n] in [
        [64, 64, 64],
        [32, 3000, 512],
        [500, 40, 600],
        [300, 700, 900],
        [1, 1000, 800],
        [900, 1000, 1],
        [600, 3, 600],
    ] {
        let (a, b) = (Tensor::<f32>::ones([m, k])?, Tensor::ones([k, n])?);
        let (at, bt) = (Tensor::<f32>::ones([k, m])?, Tensor::ones([n, k])?);
        let bias = Tensor::ones([n])?;
        calls.check(format!("{m}×{k}×{n}"), 1, || a.matmul(&b))?;
        calls.check(format!("{m}×{k}ᵀ×{n}"), 1, || at.t().matmul(&b))?;
        calls.check(format!("{m}×{k}×{n}ᵀ"), 1, || a.matmul(&bt.t()))?;
        calls.check(format!("{m}×{k}×{n} with bias"), 1, || {
            a.matmul_bias(&b, &bias, true)
        })?;
        let (a, b) = (a.cast::<f64>(), b.cast::<f64>());
        calls.check(format!("{m}×{k}×{n} of f64"), 1, || a.matmul(&b))?;
    }
    let (a, b) = (
        Tensor::<f32>::ones([9, 30, 40])?,
        Tensor::ones([9, 40, 50])?,
    );
    calls.check("a batch of products", 1, || a.matmul(&b))
}

fn poolings(calls: &mut Calls) -> Result<()> {
    let same = Pool2dOptions::new([3, 3])
        .stride([2, 2])
        .padding(Padding::Same);
    for (name, options) in [("2×2", Pool2dOptions::new([2, 2])), ("3×3", same)] {
        let shape = [4, 32, 30, 24];
        let x = Tensor::<f32>::ones(shape)?;
        let (dy, indices) = x.max_pool2d(&options)?;
        // The indices are a tensor too.
        calls.check(format!("max {name}"), 2, || x.max_pool2d(&options))?;
        calls.check(format!("max {name}, values"), 1, || {
            x.max_pool2d_values(&options)
        })?;
        calls.check(format!("max {name}, gradient"), 1, || {
            dy.max_pool2d_gradient(&indices, &shape, &options)
        })?;
        calls.check(format!("average {name}"), 1, || x.avg_pool2d(&options))?;
        calls.check(format!("average {name}, gradient"), 1, || {
            dy.avg_pool2d_gradient(&shape, &options)
        })?;
    }
    Ok(())
}

fn elementwise(calls: &mut Calls) -> Result<()> {
    let (x, bias) = (Tensor::<f32>::ones([200, 300])?, Tensor::ones([300])?);
    calls.check("relu", 1, || Ok(x.relu()))?;
    calls.check("a sum with a row", 1, || x.add(&bias))?;
    calls.check("softmax", 1, || x.softmax(-1))?;
    let mut parameter = Tensor::<f32>::ones([200, 300])?;
    let before = ALLOCATOR.total_allocated();
    parameter.update(&x, [], |p, g, []| (p - g, []))?;
    let bytes = ALLOCATOR.total_allocated() - before;
    if bytes > 0 {
        calls
            .failures
            .push(format!("an update in place: {bytes} bytes"));
    }
    Ok(())
}

#[test]
fn warm_kernels_ask_the_allocator_for_handles_alone() -> Result<()> {
    // On more threads, a late call may be the first that hands a kernel to some thread, which then
    // makes room for it.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("one thread starts").install(|| {
        let handle = bytes_of(|| Tensor::<f32>::zeros([100, 100]))?;
        assert!((1..=128).contains(&handle), "a handle takes {handle} bytes");
        let mut calls = Calls {
            handle,
            failures: Vec::new(),
        };
        convolutions(&mut calls)?;
        products(&mut calls)?;
        poolings(&mut calls)?;
        elementwise(&mut calls)?;
        assert!(calls.failures.is_empty(), "{}", calls.failures.join("\n"));
        Ok(())
    })
}
