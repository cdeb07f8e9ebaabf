package bench

import "os"

// holdDMALatency keeps processors from sleeping deeply, as far as the kernel
// honours /dev/cpu_dma_latency held at 0, until release is called. Errors are
// those of a missing device and of missing rights (it belongs to root).
func holdDMALatency() (release func() error, err error) {
	device, err := os.OpenFile("/dev/cpu_dma_latency", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := device.Write(make([]byte, 4)); err != nil {
		_ = device.Close()
		return nil, err
	}
	return device.Close, nil
}
