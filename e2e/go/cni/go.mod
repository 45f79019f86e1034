module galaxy.test/cni

go 1.24.0

require github.com/containernetworking/cni v1.3.0 // indirect

tool github.com/containernetworking/cni/cnitool
