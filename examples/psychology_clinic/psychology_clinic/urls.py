"""Every URL of the sample."""

from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from clinic import views

router = SimpleRouter()
router.register("users", views.UserViewSet)
router.register("appointments", views.AppointmentViewSet)
router.register("notifications", views.NotificationViewSet)

urlpatterns = [
    path("", views.landing, name="landing"),
    path("health/", views.health, name="health"),
    path("api/status/", views.status, name="status"),
    path("api/", include(router.urls)),
    path("documents/<int:pk>/", views.document, name="document"),
    path("admin/", admin.site.urls),
]
