module github.com/quintet-os/quintet

go 1.26.0
